-- How far each import from an old system came, and what it could not take over.

CREATE TABLE wharfd.imports (
    source      text        NOT NULL,
    importer    text        NOT NULL,
    position    text        NOT NULL DEFAULT '',
    rows_read   bigint      NOT NULL DEFAULT 0,
    written     bigint      NOT NULL DEFAULT 0,
    refused     bigint      NOT NULL DEFAULT 0,
    noted       bigint      NOT NULL DEFAULT 0,
    digest      text        NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL DEFAULT now(),
    moved_at    timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    compared_at timestamptz,
    comparison  jsonb,
    PRIMARY KEY (source, importer)
);
COMMENT ON TABLE wharfd.imports IS 'One walk over an old table; it moves in the transaction that writes the rows.';

CREATE TABLE wharfd.import_remarks (
    source   text    NOT NULL,
    importer text    NOT NULL,
    refused  boolean NOT NULL,
    remark   text    NOT NULL,
    rows     bigint  NOT NULL,
    examples text[]  NOT NULL,
    PRIMARY KEY (source, importer, refused, remark)
);
COMMENT ON TABLE wharfd.import_remarks IS 'What rows were refused for, or what should be known of them, by remark.';
