{#- Rows whose value is outside min_value to max_value; with `inclusive: false` the bounds are outside. NULL passes.
    A bound that is no number is quoted: bare, 2024-01-02 would be 2021. -#}
{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
{%- if min_value is none and max_value is none -%}
    {{ exceptions.raise_compiler_error("accepted_range on " ~ column_name ~ " needs min_value, max_value or both") }}
{%- endif %}
select *
from {{ model }}
where false
{%- if min_value is not none %}
    or {{ column_name }} {{ '<' if inclusive else '<=' }} {{ min_value if min_value is number else "'" ~ min_value ~ "'" }}
{%- endif %}
{%- if max_value is not none %}
    or {{ column_name }} {{ '>' if inclusive else '>=' }} {{ max_value if max_value is number else "'" ~ max_value ~ "'" }}
{%- endif %}
{% endtest %}
