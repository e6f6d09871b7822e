{#- The freshness every contract promises, in minutes, as rows (table_name, warn_minutes, error_minutes). -#}
{% macro select_freshness_promises() %}
    {%- set minutes = {'minute': 1, 'hour': 60, 'day': 1440} -%}
    {%- set rows = [] -%}
    {%- for node in (graph.sources.values() if execute else []) if node.config.meta.load is defined and node.freshness -%}
        {%- set warn, error = node.freshness.warn_after, node.freshness.error_after -%}
        {%- if warn.count and error.count -%}
            {%- set warn_minutes, error_minutes = warn.count * minutes[warn.period], error.count * minutes[error.period] -%}
            {%- do rows.append("('%s.%s', %s, %s)" | format(node.schema, node.name, warn_minutes, error_minutes)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{- 'values ' ~ rows | join(', ') if rows else "select '', 0, 0 where false" -}}
{% endmacro %}
