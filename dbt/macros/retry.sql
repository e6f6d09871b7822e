{#-
  On-run-start: write target/run_results.json as if every selected node had been skipped. dbt itself writes the file at
  the end, so that without this, `dbt retry` after a killed run would look at the run before it and do nothing.
-#}
{% macro note_what_is_to_run() %}
{%- if execute and flags.WRITE_JSON and flags.WHICH in ('run', 'build', 'test') %}
    {%- set results = [] -%}
    {%- for id in selected_resources -%}
        {%- do results.append({'unique_id': id, 'status': 'skipped', 'timing': [], 'thread_id': 'main',
            'execution_time': 0, 'adapter_response': {}, 'message': not_reached(), 'failures': none, 'compiled': none,
            'compiled_code': none, 'relation_name': none}) -%}
    {%- endfor -%}
    {%- set metadata = {'dbt_schema_version': 'https://schemas.getdbt.com/dbt/run-results/v6.json',
        'dbt_version': dbt_version, 'generated_at': run_started_at.isoformat()[:26] ~ 'Z',
        'invocation_id': invocation_id} -%}
    copy (
        select
            {{ sql_text(tojson(metadata)) }}::json as metadata,
            {{ sql_text(tojson(results)) }}::json as results,
            0.0 as elapsed_time,
            {{ sql_text(tojson(invocation_args_dict)) }}::json as args
    ) to {{ sql_text(run_results_path()) }} (format json)
{%- endif %}
{% endmacro %}

{#- Where dbt writes what came of a run. `flags.PROJECT_DIR` is empty where dbt was typed in the project's folder. -#}
{% macro run_results_path() %}
    {%- set folder = (invocation_args_dict.get('target_path') or 'target') | string -%}
    {%- set target_path = folder if folder.startswith('/') else invocation_args_dict.project_dir ~ '/' ~ folder -%}
    {{ return(target_path ~ '/run_results.json') }}
{% endmacro %}

{#- The message of a node that the run had still before it. -#}
{% macro not_reached() %}{{ return('not reached') }}{% endmacro %}
