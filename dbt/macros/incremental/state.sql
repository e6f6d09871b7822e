{#-
  How far every model has got, kept in the warehouse beside the models and written in the same transaction.
  docs/decisions/0002-watermarks.md says why. Tables in the schema dbt_state:
    revisions      one row per model: how often it was built, when it was last rebuilt as a whole, from which SQL
    watermarks     one row per model and input: up to which batch (bronze) or revision (model) the input is taken in
    vanished_keys  keys that a build removed from a model; who reads the model must recompute them
    tested         one row per test that ever held: up to which batch or revision (see test_scope.sql)
    batches_at_start  the last batch of each table's files, touched keys and rebuilding as of the start of this run
    dropped_columns  columns that bronze has and their contract no longer declares, as of the start of this run
-#}
{% macro create_state_tables() %}
    create schema if not exists dbt_state;
    create table if not exists dbt_state.revisions (
        model varchar not null, revision bigint not null, rebuilt_revision bigint not null, checksum varchar not null,
        lake varchar not null, run_id varchar not null, built_at timestamptz not null
    );
    create table if not exists dbt_state.watermarks (
        model varchar not null, input varchar not null, watermark bigint not null
    );
    create table if not exists dbt_state.vanished_keys (
        model varchar not null, key_json varchar not null, revision bigint not null
    );
    create table if not exists dbt_state.tested (test_id varchar not null, through bigint not null);
    {%- if execute %}
    {#- Of another lake in the place of the one before, no batch was tested, whatever its number. -#}
    delete from dbt_state.tested
    where exists (from dbt_state.revisions where lake <> lake_root() || ' ' || lake_id());
    create or replace table dbt_state.dropped_columns as
    select table_name, column_name from {{ source('ops', 'schema_history') }}
    group by all having arg_max(change, recorded_at) = 'dropped';
    {%- endif %}
{% endmacro %}

{#-
  On-run-start: what the loader had committed before any model or test began; a test may not claim more, and a model
  leaves what comes later to the next run. Asked once: the ledger is read whole, and there are twenty models.
-#}
{% macro note_batches() %}
{%- if execute %}
    create or replace table dbt_state.batches_at_start as
    select table_name, files.batch_id, keys.batch_id as touched_id, keys.rebuilt_id
    from (select table_name, max(batch_id) as batch_id from {{ source('ops', 'manifest_processed_files') }} group by all) as files
    full join (
        select table_name, max(batch_id) as batch_id, max(batch_id) filter (reason = 'rebuilt') as rebuilt_id
        from {{ source('ops', 'touched_keys') }}
        group by all
    ) as keys using (table_name)
{%- endif %}
{% endmacro %}

{#-
  The build that is going on: stamped on the rows it writes, so that readers of the model find them. A subquery and not
  its result, so that the same model compiles to the same SQL every time. A new warehouse begins above all that one before
  it has counted: who follows it with --defer must see that it was made anew.
-#}
{% macro this_revision() -%}
    (select coalesce(max(revision), epoch_ms(now())) + 1 from dbt_state.revisions where model = '{{ model.name }}')
{%- endmacro %}

{#-
  What a model's rows are made by: its file (configuration too) and the SQL it compiles to, that is with what macros and
  contracts put into it, the rows that contracts hide from it, by which key its inputs name what is gone, and the salt
  if it masks. Without the condition of `is_affected`, which full and incremental builds do not share.
-#}
{% macro get_checksum() %}
    {%- set begin, end = affected_marks() -%}
    {%- set condition = '(?s)' ~ modules.re.escape(begin) ~ '.*?' ~ modules.re.escape(end) -%}
    {%- set made_by = [model.checksum.checksum, modules.re.sub(condition, '', compiled_code)] -%}
    {%- for node in graph.sources.values() | sort(attribute='unique_id') -%}
        {%- if node.unique_id in model.depends_on.nodes and (node.config.meta.load or {}).delete_when -%}
            {%- do made_by.append(node.name ~ ': ' ~ node.config.meta.load.delete_when) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for node in graph.nodes.values() | sort(attribute='unique_id') if node.unique_id in model.depends_on.nodes -%}
        {%- do made_by.append(node.name ~ ': ' ~ node.config.unique_key) -%}
    {%- endfor -%}
    {%- if 'lakeops_mask_salt' in compiled_code -%}
        {%- do made_by.append(run_query("select sha256(getvariable('lakeops_mask_salt'))").rows[0][0]) -%}
    {%- endif -%}
    {{ return(local_md5(made_by | join)) }}
{% endmacro %}

{#- Post-hook, inside the model's transaction: remember what this build has taken in. -#}
{% macro record_watermarks() %}
{%- if execute and model.config.materialized == 'incremental' %}
    {%- set rebuilt = not is_incremental() %}
    delete from dbt_state.watermarks where model = '{{ model.name }}';
    insert into dbt_state.watermarks select '{{ model.name }}', input, watermark from input_windows;
    create or replace temp table previous_build as from dbt_state.revisions where model = '{{ model.name }}';
    delete from dbt_state.revisions where model = '{{ model.name }}';
    insert into dbt_state.revisions
    select
        '{{ model.name }}',
        coalesce(max(revision), epoch_ms(now())) + 1,
        {{ 'coalesce(max(revision), epoch_ms(now())) + 1' if rebuilt else 'coalesce(max(rebuilt_revision), 0)' }},
        '{{ get_checksum() }}',
        lake_root() || ' ' || lake_id(),
        '{{ invocation_id }}',
        now()
    from previous_build;
    {%- if rebuilt %}
    delete from dbt_state.vanished_keys where model = '{{ model.name }}';
    {%- endif %}
{%- endif %}
{% endmacro %}
