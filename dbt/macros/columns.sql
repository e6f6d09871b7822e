{#- Text without the blanks around it; nothing left is NULL. -#}
{% macro clean_text(column) -%}
    nullif(trim({{ column }}), '')
{%- endmacro %}

{#-
  An amount of four decimals shared out, in cents, half away from zero. In whole numbers, since DuckDB divides decimals as
  doubles, and half a cent is none. Nothing to share it among is NULL.
-#}
{% macro aud_per(amount, count) -%}
    {%- set parts -%} cast(cast({{ amount }} as decimal(28, 4)) * 10000 as hugeint) {%- endset -%}
    {%- set of -%} cast({{ count }} as hugeint) {%- endset -%}
    cast(cast(
        sign({{ parts }}) * sign({{ of }}) * ((2 * abs({{ parts }}) + 100 * abs({{ of }})) // nullif(200 * abs({{ of }}), 0))
        as decimal(18, 0)
    ) * cast(0.01 as decimal(3, 2)) as decimal(18, 2))
{%- endmacro %}

{#- UTC day of a moment, whatever the session's time zone. `at time zone` asks ICU of every row: ten times dearer. -#}
{% macro utc_day(moment) -%}
    cast(make_timestamp(epoch_us({{ moment }})) as date)
{%- endmacro %}

{#- A number that stands for the key, the same in every build: 60 bits of its hash, so never -1, the unknown member. -#}
{% macro surrogate_key(columns) -%}
    {%- set texts = [] -%}
    {%- for column in columns %}{% do texts.append('cast(' ~ column ~ ' as varchar)') %}{% endfor -%}
    cast(md5_number_lower(concat_ws('|', {{ texts | join(', ') }})) >> 4 as bigint)
{%- endmacro %}

{#-
  Personal data made unreadable: the same input gives the same text, and only who knows the salt can check a guess. The
  salt reaches DuckDB as a session variable (set by lakeops.dbt_plugin) and so stands in no compiled file and no log. It
  is not looked at while parsing: dbt would keep it in target/partial_parse.msgpack.
-#}
{% macro mask(column) -%}
    {%- set salt_is_set = execute and env_var('LAKEOPS_MASK_SALT', '') != '' -%}
    {%- if execute and not salt_is_set and target.name != 'dev' -%}
        {{ exceptions.raise_compiler_error("LAKEOPS_MASK_SALT is not set: only target dev masks without it") }}
    {%- endif -%}
    {%- set no_salt = "error('the plugin has not set lakeops_mask_salt in this session')" -%}
    {%- set salt = "coalesce(getvariable('lakeops_mask_salt'), " ~ no_salt ~ ")" if salt_is_set else "'dev'" -%}
    case when {{ column }} is not null then left(sha256({{ salt }} || '|' || {{ column }}), 16) end
{%- endmacro %}
