{#- Rows whose flag is not true: for validity flags, which keep a defective row in its table and count it here. -#}
{% test is_true(model, column_name) %}
select *
from {{ model }}
where {{ column_name }} is not true
{% endtest %}
