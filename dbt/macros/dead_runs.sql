{#-
  A run that died before it was recorded is recorded when the next one starts. on-run-start notes which tests are to be
  run; the record of the run takes the note away. Only one process can have the warehouse open, so whatever note is
  found belongs to a run that is dead. If dbt could still write target/run_results.json for it (stopped by Ctrl-C or a
  signal, or its hook failed), that says what came of each test; it did not for one killed outright. A test of which
  nothing is known has not finished: status error, as it would be if it had failed to run.
-#}
{% macro record_dead_runs() %}
{%- if execute and flags.WHICH in ('test', 'build', 'run') %}
    {%- do run_query("create table if not exists dbt_state.begun_runs"
        ~ " (run_id varchar not null, command varchar not null, started_at varchar not null, stores_failures boolean,"
        ~ " tests varchar[] not null)") -%}
    {%- for row in run_query("select run_id, command, started_at, stores_failures, to_json(tests) from dbt_state.begun_runs").rows %}
        {%- set run = {'id': row[0], 'command': row[1], 'started_at': row[2], 'stores': row[3], 'is_over': false} -%}
        {%- set recorded = run_query("select count(*) from " ~ source('ops', 'dbt_test_results')
            ~ " where run_id = '" ~ run.id ~ "'").rows[0][0] -%}
        {%- if not recorded -%}
            {%- do log("dbt " ~ run.command ~ " of " ~ run.started_at ~ " died before it was recorded; recorded now", info=true) -%}
{{ record_tests(describe_dead_run(run, fromjson(row[4])), run) }}
        {%- endif %}
delete from dbt_state.begun_runs where run_id = '{{ run.id }}';
    {%- endfor %}
    {%- set tests = graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') | map(attribute='unique_id')
        | select('in', selected_resources) | map('string') | list %}
    {%- if tests %}
insert into dbt_state.begun_runs values ('{{ invocation_id }}', '{{ flags.WHICH }}', '{{ run_started_at.isoformat() }}',
    {{ flags.STORE_FAILURES or false }}, ['{{ tests | join("', '") }}']);
    {%- endif %}
select 1
{%- endif %}
{% endmacro %}

{#- The outcomes of a dead run's tests, as far as the project still has them. -#}
{% macro describe_dead_run(run, tests) %}
    {%- set results = read_run_results(run) -%}
    {%- set outcomes = [] -%}
    {%- set unknown = {'status': 'error', 'message': 'the run died before this test was recorded'} -%}
    {%- for test in tests if test in graph.nodes -%}
        {%- do outcomes.append(describe_test_result(dict(results.get(test, unknown), node=graph.nodes[test]), run.stores)) -%}
    {%- endfor -%}
    {{ return(outcomes) }}
{% endmacro %}

{#-
  What dbt wrote of a run, by test; nothing if it wrote nothing, or another run has written since. Read as text: the file
  is one object, and read_json sets aside twice the largest object it allows, which is more than LAKEOPS_MEMORY.
-#}
{% macro read_run_results(run) %}
    {%- set results = {} -%}
    {%- set file = sql_text(run_results_path()) -%}
    {%- if run_query("select count(*) from glob(" ~ file ~ ")").rows[0][0] -%}
        {%- set found = run_query(
            "select result ->> 'unique_id', result ->> 'status', cast(result ->> 'failures' as bigint),"
            ~ " cast(result ->> 'execution_time' as double), result ->> 'message', result ->> 'relation_name'"
            ~ " from (select unnest(cast(content -> 'results' as json[])) as result"
            ~ " from (select try_cast(content as json) as content from read_text(" ~ file ~ "))"
            ~ " where content -> 'metadata' ->> 'invocation_id' = '" ~ run.id ~ "')"
            ~ " where result ->> 'message' is distinct from '" ~ not_reached() ~ "'") -%}
        {%- for row in found.rows -%}
            {%- do results.update({row[0]: {'status': row[1], 'failures': row[2], 'execution_time': row[3],
                'message': row[4], 'relation_name': row[5]}}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(results) }}
{% endmacro %}
