{#- The key of the row that stands for what a dimension does not know, so that no fact falls out of a join. -#}
{% macro unknown_key() -%} cast(-1 as bigint) {%- endmacro %}
