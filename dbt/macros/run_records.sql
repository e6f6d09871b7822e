{#-
  On-run-end: what a run of dbt came to, appended to the records in the lake; one INSERT each: all rows or none. It is
  written here and nowhere else first, so that losing the warehouse right after a typed `dbt test` loses no row.
  Nothing in these macros may raise (dbt would then exit with 2 and hide the tests' own result); what can go wrong goes
  wrong in the statements they return, which dbt reports as a failed hook.
-#}
{% macro record_run(results) %}
{%- if execute %}
    {%- set run = {'id': invocation_id, 'command': invocation_args_dict.get('which', ''),
        'started_at': run_started_at.isoformat(), 'is_over': true} -%}
    {%- set tests = [] -%}
    {%- set models = [] -%}
    {%- for result in results -%}
        {%- if result.node.resource_type in ['test', 'unit_test'] -%} {%- do tests.append(describe_test_result(result)) -%}
        {%- elif result.node.resource_type == 'model' -%} {%- do models.append(result) -%}
        {%- endif -%}
    {%- endfor -%}
{{ record_models(models, run) }}
{{ record_tests(tests, run) }}
select 1
{%- endif -%}
{% endmacro %}

{#- The statements that append outcomes of tests: failing rows first, so that a recorded run is recorded whole. -#}
{% macro record_tests(outcomes, run) %}
{%- if outcomes %}
{{ keep_failing_rows(outcomes, run) }}
{{ insert_test_results(outcomes, run) }}
{{ remember_tested(outcomes) if run.is_over }}
delete from dbt_state.begun_runs where run_id = '{{ run.id }}';
{%- endif %}
{% endmacro %}

{% macro record_models(results, run) %}
{%- if results %}
{{ attach_record('dbt_model_results') }}
insert into dbt_model_results_record
select
    '{{ run.id }}',
    model_name,
    table_name,
    materialized,
    status,
    cast(seconds as double),
    message,
    '{{ run.command }}',
    timestamptz '{{ run.started_at }}'
from (
    values
        {%- for result in results %}
    ({{ sql_text(result.node.name) }}, {{ sql_text(result.node.schema ~ '.' ~ result.node.alias) }},
        {{- sql_text(result.node.config.materialized) }}, {{ sql_text(result.status | string | lower) }},
        {{- result.execution_time or 0 }}, {{ sql_text(result.message) }}){{ ',' if not loop.last }}
        {%- endfor %}
) as outcomes (model_name, table_name, materialized, status, seconds, message);
detach dbt_model_results_record;
{%- endif %}
{% endmacro %}

{#- A record of the lake, to insert into: <name>_record, until it is detached. Its path has no `..`, see settings.py. -#}
{% macro attach_record(name) -%}
    {%- set lake = run_query("select lake_root()").rows[0][0] -%}
attach '{{ dbt.escape_single_quotes(lake) }}/ops/delta/{{ name }}' as {{ name }}_record (type delta);
{%- endmacro %}
