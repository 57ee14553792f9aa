-- Least rights for the processes of an installation. `paperround migrate --grant` runs this after the migrations, as the
-- owner of the tables; it may be run again, and takes back what was granted before. It needs the right to make roles
-- (CREATEROLE) only the first time. Make users of your own and put them in:
--
--   CREATE ROLE paperround_site LOGIN PASSWORD '…' IN ROLE paperround_web;
--   CREATE ROLE paperround_hands LOGIN PASSWORD '…' IN ROLE paperround_worker;
--
-- paperround_web     the site: reads what pages show, writes what readers and providers ask for
-- paperround_worker  workers, inbound and the commands for every day: everything but the schema and what is append-only
--
-- `paperround migrate`, `upgrade`, `backup`, `restore` and `up` need the owner. `beat` needs no database.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['paperround_web', 'paperround_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM paperround_web, paperround_worker;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM paperround_web, paperround_worker;
REVOKE ALL ON FUNCTION make_month(integer), drop_month(text, timestamptz) FROM PUBLIC, paperround_web, paperround_worker;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO paperround_web, paperround_worker;

-- ---- both: the schema's version; records that nobody changes ----------------------------------------------------------

GRANT SELECT ON alembic_version TO paperround_web, paperround_worker;
-- Matching locks the row of its edition, which needs the right to a column; a trigger refuses every change.
GRANT SELECT, INSERT, UPDATE (id) ON edition TO paperround_worker;
GRANT SELECT ON edition TO paperround_web;
GRANT SELECT, INSERT ON return_event TO paperround_web, paperround_worker;
-- The site shows readers all that is held of them, their consent among it. Workers make coarse, in time, from where it
-- came; a trigger refuses every other change.
GRANT SELECT, INSERT ON consent_event TO paperround_web, paperround_worker;
GRANT UPDATE (ip, user_agent) ON consent_event TO paperround_worker;
GRANT SELECT, INSERT ON audit_event TO paperround_web, paperround_worker;
-- Whoever is first makes the key of all hashes, sealed; a command seals it anew.
GRANT SELECT, INSERT ON hash_key TO paperround_web, paperround_worker;
GRANT UPDATE (sealed, sealed_at) ON hash_key TO paperround_worker;
-- Old lines go by this function alone, which refuses young ones and runs as the owner. (A backup holds no rights.)
REVOKE ALL ON FUNCTION shorten_audit_log(timestamptz) FROM PUBLIC, paperround_web;
GRANT EXECUTE ON FUNCTION shorten_audit_log(timestamptz) TO paperround_worker;

-- ---- the site ----------------------------------------------------------------------------------------------------------

GRANT SELECT ON coverage, day_figures, digest, ingest, match, paper, paper_alias, paper_identifier, paper_stamp, paper_version, sighting, task_run,
    topic TO paperround_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON access_token, feed_key, feedback, interest, mark TO paperround_web;
GRANT SELECT, INSERT ON query TO paperround_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON address_change, letter, operator_session, reader, used_link TO paperround_web;
-- It lets operators in and changes their roles, but cannot make one.
GRANT SELECT, UPDATE (role, link_sent_at, totp_secret, totp_since, totp_step, wrong_codes, locked_until, passkey_handle) ON operator
    TO paperround_web;
-- A passkey's key and whose it is never change.
GRANT SELECT, INSERT, UPDATE (sign_count, user_verified, used_at), DELETE ON passkey TO paperround_web;
-- It puts mail in and cancels it, but cannot take a lease. Who deletes their account takes their digests and deliveries
-- along. Operators, who come through the site, free what is stuck, stop and resume, and have a day read again.
GRANT SELECT, INSERT, UPDATE (state, reply, settled_at, due_at), DELETE ON delivery TO paperround_web;
GRANT SELECT, INSERT, DELETE ON digest_pause TO paperround_web;
GRANT SELECT, DELETE ON sending_pause TO paperround_web;
GRANT SELECT, INSERT ON asked_again TO paperround_web;
GRANT DELETE ON digest TO paperround_web;
GRANT SELECT (reader_id), DELETE ON carried_over TO paperround_web;
GRANT USAGE ON SEQUENCE mail_number TO paperround_web;
-- Operators edit topics and write notes here; a note's words never change. Edited topics make kept pages old, which the
-- stamp of the papers tells.
GRANT SELECT, INSERT, UPDATE, DELETE ON topic_edit TO paperround_web;
GRANT INSERT, UPDATE ON topic, paper_stamp TO paperround_web;
GRANT SELECT, INSERT, UPDATE (withdrawn_at) ON editor_note TO paperround_web;
-- Signing up asks whether an address is barred, and a provider's call bars one: keyed hashes, never addresses.
GRANT SELECT, INSERT, UPDATE, DELETE ON suppression TO paperround_web;

-- ---- the workers -------------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT, UPDATE, DELETE ON address_change, asked_again, carried_over, coverage, day_figures, delivery, digest,
    digest_pause, editor_note, feedback, fetch_host, fetched_body, ingest, ingest_problem, interest, letter, mark, match,
    operator, operator_session, paper, paper_alias, paper_identifier, paper_stamp, paper_version, query, reader,
    reader_import, sending_pause, sighting, suppression, task_run, topic, topic_edit, used_link TO paperround_worker;
-- Commands list operators' passkeys and take them away; only the site, where they are proven, enrols one.
GRANT SELECT (id, operator_id, name, user_verified, created_at, used_at), DELETE ON passkey TO paperround_worker;
-- Of tokens, only that they have run out.
GRANT SELECT (expires_at, revoked_at), DELETE ON access_token TO paperround_worker;
-- Numbers are drawn ahead where rows are copied in by the thousand.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO paperround_worker;
-- Both act as the owner: a month's tables are made and dropped, whatever the caller may do with them.
GRANT EXECUTE ON FUNCTION make_month(integer), drop_month(text, timestamptz) TO paperround_worker;
