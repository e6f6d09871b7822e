{#- The freshness every contract promises, in minutes, as rows (table_name, warn_minutes, error_minutes). -#}
{% macro select_freshness_promises() %}
    {%- set minutes = {'minute': 1, 'hour': 60, 'day': 1440} -%}
    {%- set rows = [] -%}
    {%- set contracts = graph.sources.values() | selectattr('config.meta.load', 'defined') if execute else [] -%}
    {%- for node in contracts if node.freshness -%}
        {%- set warn, error = node.freshness.warn_after, node.freshness.error_after -%}
        {%- if warn.count and error.count -%}
            {%- set after = [warn.count * minutes[warn.period], error.count * minutes[error.period]] -%}
            {%- do rows.append("('%s.%s', %s, %s)" | format(node.schema, node.name, after[0], after[1])) -%}
        {%- endif -%}
    {%- endfor -%}
    {{- 'values ' ~ rows | join(', ') if rows else "select '', 0, 0 where false" -}}
{% endmacro %}
