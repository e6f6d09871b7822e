{#-
  Append what every test of a run came to, passes too, to the record dbt_test_results: rows tested are counted now, so
  not for a run that is recorded later.
-#}
{% macro insert_test_results(outcomes, run) %}
    {%- set relations = find_countable_relations(outcomes) if run.is_over else [] %}
    {%- set through = get_tested_through(outcomes) %}
    {%- set windows = [] %}
    {#- A unit test reads rows of its own, and a window stands once, or its tests would be recorded twice. #}
    {%- for outcome in outcomes if outcome.table in relations and not outcome.is_unit %}
        {%- do outcome.update({'low': through.get(outcome.id, -1) if outcome.stamp else -1}) %}
        {%- do windows.append((outcome.table, outcome.stamp if outcome.low >= 0 else none, outcome.low)) %}
    {%- endfor %}
{{ attach_record('dbt_test_results') }}
insert into dbt_test_results_record
with counted as (
    {%- for table, stamp, low in windows | unique %}
    select '{{ table }}' as table_name, {{ low }} as low, count(*) as rows_tested from {{ table }}
    {{- ' where ' ~ stamp ~ ' > ' ~ low if low >= 0 }}
    {{- ' union all' if not loop.last }}
    {%- else %}
    select null as table_name, null as low, null as rows_tested where false
    {%- endfor %}
),
outcomes (
    test_name, test_type, table_name, column_name, severity, status, failures, seconds, message, failures_relation,
    unique_id, low
) as (
    values
    {%- for outcome in outcomes %}
    ({{ outcome.literals | join(', ') }}, {{ outcome.low | default('null') }}){{ ',' if not loop.last }}
    {%- endfor %}
)
select
    '{{ run.id }}' as run_id,
    test_name,
    test_type,
    table_name,
    column_name,
    severity,
    status,
    cast(failures as bigint) as failures,
    cast(rows_tested as bigint) as rows_tested,
    cast(case
        when status not in ('pass', 'warn', 'fail') then 0
        when coalesce(rows_tested, 0) = 0 then case when failures = 0 then 100 else 0 end
        else greatest(100 * (rows_tested - failures) / rows_tested, 0)
    end as double) as pass_rate,
    cast(seconds as double) as seconds,
    message,
    failures_relation,
    unique_id,
    '{{ run.command }}' as command,
    timestamptz '{{ run.started_at }}' as checked_at
from outcomes
left join counted using (table_name, low);
detach dbt_test_results_record;
{% endmacro %}

{#- One test's outcome as SQL literals, in the order of `outcomes` above. -#}
{% macro describe_test_result(result, run_stores=flags.STORE_FAILURES) %}
    {%- set node = result.node -%}
    {%- set status = result.status | string | lower -%}
    {%- set is_unit = node.resource_type == 'unit_test' -%}
    {%- set tested = graph.nodes.get(get_tested_id(node)) or graph.sources.get(get_tested_id(node)) -%}
    {%- set table = (tested.schema ~ '.' ~ (tested.alias or tested.identifier)) if tested else none -%}
    {%- set kind = node.test_metadata.name if node.test_metadata else ('unit_test' if is_unit else 'singular') -%}
    {%- set stores = not is_unit and (node.config.store_failures or run_stores) -%}
    {%- set relation = (result.relation_name or node.relation_name) if stores and result.failures else none -%}
    {%- set stored = relation | replace('"', '') | replace(target.database ~ '.', '', 1) if relation else none -%}
    {%- set finished = status in ['pass', 'warn', 'fail'] -%}
    {%- set stamp = get_stamp(node) if node.test_metadata else none -%}
    {{ return({'id': node.unique_id, 'name': node.name, 'table': table, 'column': node.column_name, 'stored': stored,
         'is_unit': is_unit, 'status': status, 'stamp': stamp,
        'model': tested.name if stamp == '_revision' else none,
        'source_table': tested.name if stamp == '_batch_id' else none, 'literals': [
        sql_text(node.name),
        sql_text(kind),
        sql_text(table),
        sql_text(node.column_name),
        sql_text((node.config.severity or 'error') | lower),
        sql_text(status if finished or status == 'skipped' else 'error'),
        (result.failures or 0) | string if finished else 'null',
        (result.execution_time or 0) | string,
        sql_text(result.message),
        sql_text(stored),
        sql_text(node.unique_id),
    ]}) }}
{% endmacro %}

{#-
  dbt's id of what a test looks at: for a relationship, the table that holds the reference. A test of a source is
  attached to nothing, and of two sources it depends on, the one it refers to stands first.
-#}
{% macro get_tested_id(node) %}
    {%- if node.resource_type == 'unit_test' -%}
        {{ return(node.tested_node_unique_id or (node.depends_on.nodes | select('in', graph.nodes) | first)) }}
    {%- endif -%}
    {%- set of_source = node.depends_on.nodes | select('in', graph.sources) | list if node.test_metadata else [] -%}
    {{ return(node.attached_node or (of_source | last or (node.depends_on.nodes | first))) }}
{% endmacro %}

{#- The tables whose rows can be counted: they are there and, if they are views, no test on them errored. -#}
{% macro find_countable_relations(outcomes) %}
    {%- set tested = outcomes | rejectattr('is_unit') | map(attribute='table') | unique | list -%}
    {%- set broken = outcomes | selectattr('status', 'equalto', 'error') | map(attribute='table') | list -%}
    {%- set present = run_query(
        "select schema_name || '.' || table_name, false from duckdb_tables() union all "
        ~ "select schema_name || '.' || view_name, true from duckdb_views()") -%}
    {%- set countable = [] -%}
    {%- for row in present.rows if row[0] in tested and not (row[1] and row[0] in broken) -%}
        {%- do countable.append(row[0]) -%}
    {%- endfor -%}
    {{ return(countable) }}
{% endmacro %}

{#- Not through dbt's own macros, each of which calls three more: there are eleven texts to a test. -#}
{% macro sql_text(value) -%}
    {{ 'null' if value is none or value is undefined else "'" ~ value | string | replace("'", "''") ~ "'" }}
{%- endmacro %}
