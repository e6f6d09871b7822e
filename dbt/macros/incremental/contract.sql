{#- The source that is a table's contract (models/bronze/*.yml); its load settings are under config.meta.load. -#}
{% macro get_contract(table) %}
    {%- for node in graph.sources.values() if node.name == table and node.config.meta.load is defined -%}
        {{ return(node) }}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error("No contract declares the table " ~ table ~ ": see models/bronze/") }}
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
