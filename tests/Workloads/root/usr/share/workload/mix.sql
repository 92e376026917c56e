-- Inserts, an index, joins, groups, updates and deletions in a database in memory.
CREATE TABLE item(id INTEGER PRIMARY KEY, kind INTEGER, weight REAL, name TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, i * 7919 % 997, i * 0.37, 'item ' || (i * 104729 % 20011) FROM n;
COMMIT;
CREATE INDEX item_kind ON item(kind);
CREATE INDEX item_name ON item(name);
CREATE TABLE kind(id INTEGER PRIMARY KEY, title TEXT);
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 996)
INSERT INTO kind SELECT i, 'kind ' || i FROM n;
SELECT count(*), sum(weight) FROM item JOIN kind ON kind.id = item.kind WHERE kind.title LIKE '%7%';
SELECT kind, count(*), avg(weight), max(name) FROM item GROUP BY kind ORDER BY 3 DESC LIMIT 3;
UPDATE item SET weight = weight * 2 WHERE kind % 3 = 0;
DELETE FROM item WHERE name LIKE 'item 1%';
SELECT count(*), sum(weight), min(name) FROM item;
