{#- The loader's records name a contract by its table alone, which is its own among all. As schema.table: -#}
{% macro qualify_contract(name='table_name') %}
    {%- set contracts = graph.sources.values() | selectattr('config.meta.load', 'defined') if execute else [] -%}
    case
        when {{ name }} is null then null
        {%- for node in contracts | sort(attribute='name') %}
        when {{ name }} = '{{ node.name }}' then '{{ node.schema }}.{{ node.name }}'
        {%- endfor %}
        else {{ name }}
    end
{%- endmacro %}
