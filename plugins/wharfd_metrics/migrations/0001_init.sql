-- A series is an owner's metric of a service with one set of labels. Points refer to it by its small id.
CREATE TABLE metrics.series (
    id           integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner        text,
    service_name text        NOT NULL,
    metric_type  text        NOT NULL,
    labels       jsonb       NOT NULL,
    unit         text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT series_name UNIQUE NULLS NOT DISTINCT (service_name, metric_type, owner, labels)
);
CREATE INDEX series_by_metric ON metrics.series (metric_type, service_name);
CREATE INDEX series_by_owner ON metrics.series (owner);

-- A batch takes one step and numbers its points from there.
CREATE SEQUENCE metrics.point_ids START 1 INCREMENT BY 100000;
CREATE TABLE metrics.points (
    id        bigint      NOT NULL,
    series_id integer     NOT NULL,
    at        timestamptz NOT NULL,
    value     float8      NOT NULL,
    metadata  jsonb
) PARTITION BY RANGE (at);
CREATE INDEX points_by_series ON metrics.points (series_id, at);

-- What a batch added to the hours it touched, until it is merged into them. Written with the points, one commit.
CREATE TABLE metrics.deltas (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer     NOT NULL,
    hour      timestamptz NOT NULL,
    count     bigint      NOT NULL,
    sum       float8      NOT NULL,
    min       float8      NOT NULL,
    max       float8      NOT NULL,
    sketch    bytea       NOT NULL,
    added_at  timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX deltas_by_series ON metrics.deltas (series_id, hour);
CREATE INDEX deltas_by_hour ON metrics.deltas (hour);

-- Roll-ups: mergeable, so that a day is the sum of its hours and a percentile is never averaged.
CREATE TABLE metrics.hours (
    series_id integer     NOT NULL,
    bucket    timestamptz NOT NULL,
    count     bigint      NOT NULL,
    sum       float8      NOT NULL,
    min       float8      NOT NULL,
    max       float8      NOT NULL,
    sketch    bytea       NOT NULL,
    sealed_at timestamptz,               -- no point can change it any more
    PRIMARY KEY (series_id, bucket)
) PARTITION BY RANGE (bucket);
CREATE INDEX hours_unsealed ON metrics.hours (bucket) WHERE sealed_at IS NULL;

CREATE TABLE metrics.days (
    series_id integer     NOT NULL,
    bucket    timestamptz NOT NULL,
    count     bigint      NOT NULL,
    sum       float8      NOT NULL,
    min       float8      NOT NULL,
    max       float8      NOT NULL,
    sketch    bytea       NOT NULL,
    sealed_at timestamptz,
    PRIMARY KEY (series_id, bucket)
) WITH (fillfactor = 80);
CREATE INDEX days_unsealed ON metrics.days (bucket) WHERE sealed_at IS NULL;
CREATE INDEX days_by_bucket ON metrics.days (bucket);
