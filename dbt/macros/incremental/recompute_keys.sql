{#-
  The incremental strategy of every silver and gold model. The model's query gave all rows of the affected keys; of
  these, only keys whose rows really differ are rewritten, so that a change travels no further than it reaches, and a
  build with nothing new changes nothing. A key that gave no row any more is removed and remembered as vanished.
  Rows are told apart by DuckDB's 64-bit hash, summed up by key: EXCEPT holds all columns of both sides at once, and was
  four times as slow, where a changed model compares a whole history (docs/decisions/0002-watermarks.md).
-#}
{% macro get_incremental_recompute_keys_sql(arguments) %}
    {%- set target = arguments.target_relation -%}
    {%- set staged = arguments.temp_relation -%}
    {%- set key = arguments.unique_key | join(', ') -%}
    {%- set columns = arguments.dest_columns | map(attribute='quoted') | join(', ') -%}
    {%- set data = arguments.dest_columns | rejectattr('name', 'equalto', '_revision') -%}
    {%- set compared = data | map(attribute='quoted') | join(', ') -%}
    {%- set key_as_struct = [] -%}
    {%- for column in arguments.unique_key %}{% do key_as_struct.append("'" ~ column ~ "': " ~ column) %}{% endfor %}
    {{ refuse_other_types(target, staged) }}
    {{ refuse_nulls(staged, "{" ~ key_as_struct | join(', ') ~ "}") }}
    create or replace temp table changed_keys as
    select {{ key }}
    from (
        select {{ key }}, cast(hash({{ compared }}) as hugeint) as content from {{ staged }}
        union all
        select {{ key }}, -cast(hash({{ compared }}) as hugeint) from {{ target }}
        where ({{ key }}) in (select {{ key }} from affected_keys union select {{ key }} from {{ staged }})
    )
    group by all
    having sum(content) <> 0;

    delete from {{ target }} where ({{ key }}) in (from changed_keys);

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ staged }} where ({{ key }}) in (from changed_keys);

    insert into dbt_state.vanished_keys
    select '{{ model.name }}', to_json({ {{- key_as_struct | join(', ') -}} }), {{ this_revision() }}
    from (from changed_keys except select {{ key }} from {{ staged }});
{% endmacro %}

{#-
  Stop a model of which a column has another type than the table, or has left it: DuckDB would cast in silence, and keep
  old values for ever.
-#}
{% macro refuse_other_types(target, staged) %}
    select error(
        '{{ target.identifier }} has the column ' || column_name || ' as ' || column_type || ', and its model does not any'
        || ' more. Make the table anew, with all that reads it: dbt run --full-refresh --select {{ model.name }}+'
    )
    from (
        select column_name, column_type from (describe {{ target }})
        except
        select column_name, column_type from (describe {{ staged }})
    )
    limit 1;
{% endmacro %}

{#-
  Stop a model that would write a null where its contract has `constraints: [{type: not_null}]`, and name the row: DuckDB,
  which holds a table it made to the same, names the column only.
-#}
{% macro refuse_nulls(staged, key) %}
    {%- set required = [] -%}
    {%- for column in model.columns.values() if column.constraints | selectattr('type', 'equalto', 'not_null') | list -%}
        {%- do required.append(adapter.quote(column.name)) -%}
    {%- endfor -%}
    {%- if required %}
    select error(
        case {%- for column in required %} when {{ column }} is null then '{{ column | replace('"', '') }}' {%- endfor %} end
        || ' is null in the row ' || to_json({{ key }}) || ', and {{ model.patch_path.split('://')[1] }} says not_null'
    )
    from (select * from {{ staged }} where {% for column in required %}{{ column }} is null{{ ' or ' if not loop.last }}{% endfor %} limit 1);
    {%- endif %}
{% endmacro %}
