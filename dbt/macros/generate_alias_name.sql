{#- A model's name says its layer (silver_orders); its table does not repeat the schema (silver.orders). -#}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- set prefix = (node.config.schema or '') ~ '_' -%}
    {%- if custom_alias_name -%} {{ custom_alias_name | trim }}
    {%- elif node.resource_type == 'model' and node.name.startswith(prefix) -%} {{ node.name[prefix | length:] }}
    {%- else -%} {{ node.name }}
    {%- endif -%}
{%- endmacro %}
