-- What one user says about one insight: a rating, a comment, a flag, each at most once.
CREATE TABLE feedback.feedback (
    id           text        PRIMARY KEY,
    owner        text,
    insight_id   text        NOT NULL,
    user_id      text        NOT NULL,
    rating       smallint    CHECK (rating BETWEEN 1 AND 5),
    comment      text,
    commented_at timestamptz,
    flag_type    text        CHECK (flag_type IN ('inaccurate', 'misleading', 'spam')),
    flag_reason  text,
    flag_state   text        CHECK (flag_state IN ('open', 'upheld', 'dismissed')),
    flagged_at   timestamptz,
    moderated_at timestamptz,
    moderated_by text,
    moderator_note text,
    version      integer     NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT feedback_once UNIQUE NULLS NOT DISTINCT (insight_id, user_id, owner),
    CHECK ((comment IS NULL) = (commented_at IS NULL)),
    CHECK ((flag_type IS NULL) = (flag_state IS NULL))
);
CREATE INDEX feedback_comments ON feedback.feedback (insight_id, commented_at DESC, id DESC)
    WHERE comment IS NOT NULL;
CREATE INDEX feedback_owner_comments ON feedback.feedback (owner, insight_id, commented_at DESC, id DESC)
    WHERE comment IS NOT NULL;
CREATE INDEX feedback_by_user ON feedback.feedback (user_id, updated_at DESC, id DESC);
CREATE INDEX feedback_flags ON feedback.feedback (flag_state, flagged_at, id) WHERE flag_state IS NOT NULL;
CREATE INDEX feedback_by_age ON feedback.feedback (updated_at);

-- Statistics per insight and owner, kept by the trigger below: whoever writes or deletes a row, they stay right.
CREATE TABLE feedback.counters (
    insight_id text   NOT NULL,
    owner      text,
    rating_1   bigint NOT NULL DEFAULT 0,
    rating_2   bigint NOT NULL DEFAULT 0,
    rating_3   bigint NOT NULL DEFAULT 0,
    rating_4   bigint NOT NULL DEFAULT 0,
    rating_5   bigint NOT NULL DEFAULT 0,
    comments   bigint NOT NULL DEFAULT 0,
    inaccurate bigint NOT NULL DEFAULT 0,
    misleading bigint NOT NULL DEFAULT 0,
    spam       bigint NOT NULL DEFAULT 0,
    CONSTRAINT counters_once UNIQUE NULLS NOT DISTINCT (insight_id, owner)
) WITH (fillfactor = 50);

-- Adds `sign` times what a row counts for. A dismissed flag counts for nothing.
CREATE FUNCTION feedback.count_row(f feedback.feedback, sign integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO feedback.counters AS c (insight_id, owner, rating_1, rating_2, rating_3, rating_4, rating_5,
                                        comments, inaccurate, misleading, spam)
    VALUES (f.insight_id, f.owner,
            sign * coalesce((f.rating = 1)::int, 0), sign * coalesce((f.rating = 2)::int, 0),
            sign * coalesce((f.rating = 3)::int, 0), sign * coalesce((f.rating = 4)::int, 0),
            sign * coalesce((f.rating = 5)::int, 0), sign * (f.comment IS NOT NULL)::int,
            sign * coalesce((f.flag_type = 'inaccurate' AND f.flag_state <> 'dismissed')::int, 0),
            sign * coalesce((f.flag_type = 'misleading' AND f.flag_state <> 'dismissed')::int, 0),
            sign * coalesce((f.flag_type = 'spam' AND f.flag_state <> 'dismissed')::int, 0))
    ON CONFLICT (insight_id, owner) DO UPDATE SET
        rating_1 = c.rating_1 + excluded.rating_1, rating_2 = c.rating_2 + excluded.rating_2,
        rating_3 = c.rating_3 + excluded.rating_3, rating_4 = c.rating_4 + excluded.rating_4,
        rating_5 = c.rating_5 + excluded.rating_5, comments = c.comments + excluded.comments,
        inaccurate = c.inaccurate + excluded.inaccurate, misleading = c.misleading + excluded.misleading,
        spam = c.spam + excluded.spam
$$;

CREATE FUNCTION feedback.keep_counters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM feedback.count_row(OLD, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM feedback.count_row(NEW, 1);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_counters AFTER INSERT OR DELETE OR UPDATE ON feedback.feedback
    FOR EACH ROW EXECUTE FUNCTION feedback.keep_counters();
