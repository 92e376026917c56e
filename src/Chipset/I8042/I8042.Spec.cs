namespace Vitro.Chipset;

/// <summary>Ports, commands and bits of the 8042 keyboard controller and of the AT keyboard behind it.</summary>
internal static class I8042Spec
{
    internal const ushort DataPort = 0x60;
    internal const ushort CommandPort = 0x64;

    internal const byte StatusOutputFull = 0x01;
    internal const byte StatusSystem = 0x04;
    internal const byte StatusCommand = 0x08;
    internal const byte StatusUnlocked = 0x10;
    internal const byte StatusAuxiliary = 0x20;

    internal const byte ConfigKeyboardInterrupt = 0x01;
    internal const byte ConfigAuxiliaryInterrupt = 0x02;
    internal const byte ConfigSystem = 0x04;
    internal const byte ConfigKeyboardDisabled = 0x10;
    internal const byte ConfigAuxiliaryDisabled = 0x20;
    internal const byte ConfigTranslate = 0x40;

    internal const byte CommandReadConfig = 0x20;
    internal const byte CommandWriteConfig = 0x60;
    internal const byte CommandDisableAuxiliary = 0xA7;
    internal const byte CommandEnableAuxiliary = 0xA8;
    internal const byte CommandTestAuxiliary = 0xA9;
    internal const byte CommandSelfTest = 0xAA;
    internal const byte CommandTestKeyboard = 0xAB;
    internal const byte CommandDisableKeyboard = 0xAD;
    internal const byte CommandEnableKeyboard = 0xAE;
    internal const byte CommandReadInput = 0xC0;
    internal const byte CommandReadOutput = 0xD0;
    internal const byte CommandWriteOutput = 0xD1;
    internal const byte CommandLoopKeyboard = 0xD2;
    internal const byte CommandLoopAuxiliary = 0xD3;
    internal const byte CommandWriteAuxiliary = 0xD4;
    internal const byte CommandPulseFirst = 0xF0;

    internal const byte SelfTestPassed = 0x55;
    internal const byte AuxiliaryAbsent = 0x01;

    internal const byte OutputNoReset = 0x01;
    internal const byte OutputA20 = 0x02;

    internal const byte Acknowledge = 0xFA;
    internal const byte Resend = 0xFE;
    internal const byte BasicAssurancePassed = 0xAA;

    internal const byte KeyboardSetLeds = 0xED;
    internal const byte KeyboardEcho = 0xEE;
    internal const byte KeyboardScanCodeSet = 0xF0;
    internal const byte KeyboardIdentify = 0xF2;
    internal const byte KeyboardTypematic = 0xF3;
    internal const byte KeyboardEnable = 0xF4;
    internal const byte KeyboardDisable = 0xF5;
    internal const byte KeyboardDefaults = 0xF6;
    internal const byte KeyboardReset = 0xFF;
}
