{#- Rows in whose text the regular expression (RE2) is not found: anchor it with ^ and $ to mean all. NULL passes. -#}
{% test matches_regex(model, column_name, regex) %}
select *
from {{ model }}
where not regexp_matches(cast({{ column_name }} as varchar), {{ dbt.string_literal(dbt.escape_single_quotes(regex)) }})
{% endtest %}
