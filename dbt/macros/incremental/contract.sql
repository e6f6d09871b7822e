{#- The source that is a table's contract (models/bronze/*.yml); its load settings are under config.meta.load. -#}
{% macro get_contract(table) %}
    {%- for node in graph.sources.values() if node.name == table and node.config.meta.load is defined -%}
        {{ return(node) }}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error("No contract declares the table " ~ table ~ ": see models/bronze/") }}
{% endmacro %}

{#-
  A column that its contract dropped stays in bronze and would read as null from then on: whoever still uses it must say
  what that means. A model that names such a column of one of its sources does not build.
-#}
{% macro refuse_dropped_columns() %}
    {%- set dropped = run_query("select table_name, column_name from dbt_state.dropped_columns").rows -%}
    {%- for node in graph.sources.values() if node.unique_id in model.depends_on.nodes -%}
        {#- The history of a table has the columns of its contract. -#}
        {%- set read = node.name.removesuffix('_changes') -%}
        {%- for table, column in dropped if table == read -%}
            {%- if modules.re.search('\\b' ~ column ~ '\\b', model.raw_code) -%}
                {{ exceptions.raise_compiler_error(node.schema ~ '.' ~ node.name ~ '.' ~ column ~ ' is read here, and '
                    ~ get_contract(table).original_file_path ~ ' (table ' ~ table ~ ', columns) no longer declares it.'
                    ~ ' Declare it again, or take it out of ' ~ model.original_file_path) }}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
{% endmacro %}

{#-
  For `qualify`: the row that holds for its key, the last one in the house's total order; for a history, give the
  columns that tell its versions apart as `per`.
-#}
{% macro is_latest(table, per=[]) %}
{%- if execute -%}
    {%- set load = get_contract(table).config.meta.load -%}
    row_number() over (
        partition by {{ (load.key + per) | join(', ') }}
        order by
            {%- for column in (load.sequence_by or []) + ['_batch_id', '_source_file', '_source_row'] %}
            {{ column }} desc nulls last{{ ',' if not loop.last }}
            {%- endfor %}
    ) = 1
{%- else -%} true
{%- endif -%}
{% endmacro %}
