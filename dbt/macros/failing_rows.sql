{#-
  Failing rows outlive the next run: a few of each test and run go to the record dbt_test_failures, personal data made
  unreadable. What the tests stored in the warehouse is made unreadable in the same way, where people look at it.
-#}
{% macro keep_failing_rows(outcomes, run) %}
{%- set failing = outcomes | selectattr('stored') | list -%}
{%- if failing %}
    {%- set columns = find_stored_columns() -%}
    {%- set kept = [] -%}
    {%- set readable = [] -%}
    {%- set limit = graph.sources.get('source.lakeops.ops.dbt_test_failures').config.meta.rows_per_test -%}
    {%- set published = get_published_columns() -%}
    {%- for outcome in failing if outcome.stored in columns -%}
        {%- set relation = columns[outcome.stored] -%}
        {%- set shown = show_columns(relation.columns, published, outcome.column) -%}
        {%- do kept.append((outcome, shown)) -%}
        {%- if relation.is_table and shown != relation.columns -%} {%- do readable.append((outcome, shown)) -%} {%- endif -%}
    {%- endfor %}
    {%- if kept %}
{{ attach_record('dbt_test_failures') }}
insert into dbt_test_failures_record
        {%- for outcome, shown in kept %}
select '{{ run.id }}', {{ sql_text(outcome.name) }}, {{ sql_text(outcome.table) }},
    cast(row_number() over () as bigint), cast(to_json(failing) as varchar), {{ sql_text(outcome.id) }},
    timestamptz '{{ run.started_at }}'
from (select {{ shown | join(', ') }} from {{ outcome.stored }} limit {{ limit }}) as failing
        {{- ' union all' if not loop.last }}
        {%- endfor %};
detach dbt_test_failures_record;
        {%- for outcome, shown in readable %}
create or replace table {{ outcome.stored }} as select {{ shown | join(', ') }} from {{ outcome.stored }};
        {%- endfor %}
    {%- endif %}
{%- endif %}
{% endmacro %}

{#- What tests have stored, by schema.name: {columns: quoted names, is_table}. -#}
{% macro find_stored_columns() %}
    {%- set stored = {} -%}
    {%- set found = run_query(
        "select columns.schema_name || '.' || columns.table_name, '\"' || column_name || '\"', tables.table_name is not null"
        ~ " from duckdb_columns() as columns left join duckdb_tables() as tables using (schema_name, table_name)"
        ~ " where columns.database_name = current_database() and not columns.internal"
        ~ " order by 1, column_index") -%}
    {%- for row in found.rows -%}
        {%- do stored.setdefault(row[0], {'columns': [], 'is_table': row[2]})['columns'].append(row[1]) -%}
    {%- endfor -%}
    {{ return(stored) }}
{% endmacro %}

{#-
  The names under which nothing personal stands: those the project describes and marks nowhere as personal. A name it
  does not know (an alias in a test, a column that came with a file) may be anything.
-#}
{% macro get_published_columns() %}
    {%- set published = ['_batch_id', '_ingested_at', '_source_file', '_source_row', 'n_records'] -%}
    {%- set personal = [] -%}
    {%- for node in graph.sources.values() | list + graph.nodes.values() | selectattr('resource_type', 'in', ['model', 'seed']) | list -%}
        {%- for column in node.columns.values() -%}
            {%- do (personal if column.config.meta.personal or column.meta.personal else published).append(column.name) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(published | reject('in', personal) | unique | list) }}
{% endmacro %}

{#- The select list that shows a test's rows: what is not known to be public is masked. dbt's own tests rename columns. -#}
{% macro show_columns(columns, published, tested) %}
    {%- set salted = target.name == 'dev' or env_var('LAKEOPS_MASK_SALT', '') != '' -%}
    {%- set shown = [] -%}
    {%- for column in columns -%}
        {%- set name = column | replace('"', '') -%}
        {%- set name = tested if name in ['value_field', 'unique_field', 'from_field'] and tested else name -%}
        {%- if name in published -%} {%- do shown.append(column) -%}
        {%- elif salted -%} {%- do shown.append(mask('cast(' ~ column ~ ' as varchar)') ~ ' as ' ~ column) -%}
        {%- else -%} {%- do shown.append("case when " ~ column ~ " is not null then 'masked' end as " ~ column) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(shown) }}
{% endmacro %}
