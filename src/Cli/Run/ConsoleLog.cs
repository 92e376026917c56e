using Microsoft.Extensions.Logging;

namespace Vitro.Cli.Run;

/// <summary>Writes warnings and errors to standard error, one line each, fit for a terminal in raw mode.</summary>
internal sealed class ConsoleLog : ILogger
{
    private readonly LogLevel _least =
        Enum.TryParse<LogLevel>(Environment.GetEnvironmentVariable("VITRO_LOG"), ignoreCase: true, out var level) ? level : LogLevel.Warning;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= _least;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            Console.Error.Write($"[{logLevel.ToString().ToLowerInvariant()}] {formatter(state, exception)}\r\n");
        }
    }

}
