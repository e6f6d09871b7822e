{#-
  Which rows a generic test reads: all, or with LAKEOPS_TEST_SCOPE=new (the daily job) those that are new since the
  test last held, so that the cost of a day does not grow with the history. Keys are looked up in the whole table: a
  new row may repeat an old one. dbt_state.tested remembers per test how far it has got; a test that failed or did not
  finish has got no further, and reads the same rows again until they are mended.
-#}
{% macro duckdb__get_where_subquery(relation) %}
    {%- set conditions = [config.get('where')] | select | list -%}
    {%- set stamp = get_stamp(model) if execute else none -%}
    {%- if stamp and tests_new_rows() -%}
        {#- A subquery, not its result: DuckDB skips files by it all the same, and there are hundreds of tests. -#}
        {%- set through = "(select coalesce(max(through), -1) from dbt_state.tested where test_id = '" -%}
        {%- set new_rows = stamp ~ ' > ' ~ through ~ model.unique_id ~ "')" -%}
        {%- set keys = get_unique_columns(model) -%}
        {%- if keys -%}
            {%- set key = keys | join(', ') -%}
            {%- set new_rows = "(" ~ key ~ ") in (select " ~ key ~ " from " ~ relation ~ " where " ~ new_rows ~ ")" -%}
        {%- endif -%}
        {%- do conditions.append(new_rows) -%}
    {%- endif -%}
    {%- if conditions -%}
        {{ return('(select * from ' ~ relation ~ ' where ' ~ conditions | join(' and ') ~ ') as tested_rows') }}
    {%- endif -%}
    {{ return(relation) }}
{% endmacro %}

{#- Not looked at while parsing: dbt would parse everything anew whenever it changes. -#}
{% macro tests_new_rows() %}
    {{ return(execute and env_var('LAKEOPS_TEST_SCOPE', 'all') == 'new') }}
{% endmacro %}

{#- The column that tells a tested table's new rows: batches of a contract, builds of a model; none if it has neither. -#}
{% macro get_stamp(test) %}
    {%- set tested_id = get_tested_id(test) -%}
    {%- set source = graph.sources.get(tested_id) -%}
    {%- set node = graph.nodes.get(tested_id) -%}
    {%- if source and source.config.meta.load is defined -%} {{ return('_batch_id') }}
    {%- elif node and node.config.materialized == 'incremental' -%} {{ return('_revision') }}
    {%- endif -%}
    {{ return(none) }}
{% endmacro %}

{#- The columns a test wants to be unique together; none if it looks at every row by itself. -#}
{% macro get_unique_columns(test) %}
    {%- set kind = test.test_metadata.name -%}
    {%- if kind == 'unique' -%} {{ return([test.column_name]) }}
    {%- elif kind == 'unique_combination' -%} {{ return(test.test_metadata.kwargs.columns) }}
    {%- endif -%}
    {{ return([]) }}
{% endmacro %}

{#- How far each of these tests has got before this run, by id: {unique_id: number}; -1 is not at all. -#}
{% macro get_tested_through(outcomes) %}
    {%- set through = {} -%}
    {%- if tests_new_rows() -%}
        {%- for row in run_query("select test_id, through from dbt_state.tested").rows -%}
            {%- do through.update({row[0]: row[1]}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(through) }}
{% endmacro %}

{#- On-run-end: remember how far the tests that held have got. -#}
{% macro remember_tested(outcomes) %}
{%- set held = outcomes | selectattr('stamp') | selectattr('status', 'in', ['pass', 'warn']) | list %}
{%- if held %}
create or replace temp table held (test_id varchar, model varchar, source_table varchar);
insert into held values
    {%- for outcome in held %}
    ({{ sql_text(outcome.id) }}, {{ sql_text(outcome.model) }}, {{ sql_text(outcome.source_table) }}){{ ',' if not loop.last }}
    {%- endfor %};
delete from dbt_state.tested where test_id in (select test_id from held);
insert into dbt_state.tested
select held.test_id, coalesce(revisions.revision, batches_at_start.batch_id)
from held
left join dbt_state.revisions using (model)
left join dbt_state.batches_at_start on held.source_table = batches_at_start.table_name
where coalesce(revisions.revision, batches_at_start.batch_id) is not null;
{%- endif %}
{% endmacro %}
