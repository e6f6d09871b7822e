{#-
  Which keys a build must recompute. A model names its inputs under `meta.affected_by`, one entry each:
    source: orders            a contract's table: its new batches, and the keys that commits took away (touched_keys)
    changes: true             with source: read the history <table>_changes in place of the current state
    ref: silver_customers     a model: the rows its builds wrote since, and the keys they removed
    provides: {key: expr}     the input brings new keys: how to make this model's key from `changed`
    on: <sql>                 the input is looked up: which rows of `this` depend on `changed`
    flag: has_known_customer  only whether the key exists matters: look up the rows of `this` whose flag says otherwise
  `changed` has the columns of the input's own key and, for a model, `is_present` (false: the key is gone). An input
  that has all columns of this model's key provides them, if nothing else is said; any other is looked up by its key.
-#}
{% macro get_inputs() %}
    {%- set own_key = config.get('unique_key') -%}
    {%- set inputs = [] -%}
    {%- for entry in config.get('meta', {}).get('affected_by', []) -%}
        {%- if entry.source -%}
            {%- set load = get_contract(entry.source) -%}
            {%- set table = entry.source ~ ('_changes' if entry.changes else '') -%}
            {%- set input = {'name': 'bronze.' ~ table, 'kind': 'source', 'table': entry.source, 'key': load.key,
                             'relation': source('bronze', table)} -%}
        {%- else -%}
            {%- set node = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
                | selectattr('name', 'equalto', entry.ref) | first -%}
            {%- set input = {'name': entry.ref, 'kind': 'ref', 'key': node.config.unique_key,
                             'relation': ref(entry.ref)} -%}
        {%- endif -%}
        {%- set missing = own_key | reject('in', input.key) | list -%}
        {%- if entry.on -%}
            {%- do input.update({'on': entry.on}) -%}
        {%- elif entry.provides or not (missing or entry.flag) -%}
            {%- do input.update({'provides': entry.provides or {}}) -%}
        {%- else -%}
            {%- set terms = [] -%}
            {%- for column in input.key -%}
                {%- do terms.append('this.' ~ column ~ ' = changed.' ~ column) -%}
            {%- endfor -%}
            {%- if entry.flag %}{% do terms.append('this.' ~ entry.flag ~ ' <> changed.is_present') %}{% endif -%}
            {%- do input.update({'on': terms | join(' and ')}) -%}
        {%- endif -%}
        {%- do inputs.append(input) -%}
    {%- endfor -%}
    {{ return(inputs) }}
{% endmacro %}

{#-
  The window of every input that this build takes in: (low, high]. high is what is there now; what arrives later waits
  for the next build. A model that cannot trust its windows recomputes every key: then low is -1 and `everything` true.
-#}
{% macro get_windows(inputs) %}
    {%- set low = {} -%}
    {%- set plan = {'everything': not is_incremental(), 'why': none, 'windows': []} -%}
    {%- if is_incremental() -%}
        {%- set of_model = " where model = '" ~ model.name ~ "'" -%}
        {%- set built = run_query("select checksum from dbt_state.revisions" ~ of_model) -%}
        {%- for row in run_query("select input, watermark from dbt_state.watermarks" ~ of_model) -%}
            {%- do low.update({row[0]: row[1]}) -%}
        {%- endfor -%}
        {%- if built | length == 0 -%}
            {%- do plan.update({'everything': true, 'why': 'how far it had got is not known'}) -%}
        {%- elif built.rows[0][0] != model.checksum.checksum -%}
            {%- do plan.update({'everything': true, 'why': 'its SQL has changed'}) -%}
        {%- endif -%}
    {%- endif -%}

    {#- One query asks for all the highs; a literal bound lets DuckDB skip the files of older batches. -#}
    {%- set highs = [] -%}
    {%- for input in inputs -%}
        {%- set from_low = low.get(input.name, -1) -%}
        {%- if input.kind == 'source' -%}
            {%- set touched = input.name ~ ' touched' -%}
            {%- do highs.append("select '" ~ input.name ~ "' as input, max(_batch_id) as high, null as rebuilt from "
                ~ input.relation ~ " where _batch_id > " ~ from_low) -%}
            {%- do highs.append("select '" ~ touched ~ "', max(batch_id), null from " ~ source('ops', 'touched_keys')
                ~ " where batch_id > " ~ low.get(touched, -1) ~ " and table_name = '" ~ input.table ~ "'") -%}
        {%- else -%}
            {%- do highs.append("select '" ~ input.name ~ "', max(revision), max(rebuilt_revision)"
                ~ " from dbt_state.revisions where model = '" ~ input.name ~ "'") -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for row in run_query(highs | join(' union all ')) -%}
        {%- set known = low.get(row[0], -1) -%}
        {%- if is_incremental() and not plan.everything -%}
            {%- if row[0] not in low -%}
                {%- do plan.update({'everything': true, 'why': row[0] ~ ' is a new input'}) -%}
            {%- elif (row[2] or -1) > known -%}
                {%- do plan.update({'everything': true, 'why': row[0] ~ ' was rebuilt'}) -%}
            {%- endif -%}
        {%- endif -%}
        {%- set high = known if row[1] is none else [row[1], known] | max -%}
        {%- do plan.windows.append({'input': row[0], 'low': known, 'high': high}) -%}
    {%- endfor -%}
    {{ return(plan) }}
{% endmacro %}

{#- Pre-hook, inside the model's transaction: fix the windows, and for an incremental build collect the keys. -#}
{% macro collect_affected_keys() %}
{%- if execute and model.config.materialized == 'incremental' %}
    {%- set key = config.get('unique_key') %}
    {%- set inputs = get_inputs() %}
    {%- set plan = get_windows(inputs) %}
    create or replace temp table input_windows (input varchar, low bigint, high bigint);
    insert into input_windows values
        {%- for window in plan.windows %}
        ('{{ window.input }}', {{ window.low }}, {{ window.high }}){{ ',' if not loop.last }}
        {%- endfor %};
    {%- if is_incremental() %}
    {%- if plan.why %}{% do log(model.name ~ ': ' ~ plan.why ~ ', so every key is recomputed', info=true) %}{% endif %}
    create or replace temp table affected_keys as
    {%- for input in inputs if not plan.everything or input.provides is defined %}
    {{ select_affected(input, plan, key) }}
    union
    {%- endfor %}
    select {{ key | join(', ') }} from {{ this }} where {{ 'true' if plan.everything else 'false' }};
    {%- endif %}
{%- endif %}
{% endmacro %}

{#- The keys of this model that one input's changes affect. -#}
{% macro select_affected(input, plan, key) %}
    {%- set window = {} -%}
    {%- for found in plan.windows -%}{%- do window.update({found.input: found}) -%}{%- endfor -%}
    {%- if input.provides is defined %}
    select {% for column in key -%}
        {{ input.provides.get(column, 'changed.' ~ column) }} as {{ column }}{{ ', ' if not loop.last }}
    {%- endfor %}
    from ({{ select_changed(input, plan, window) }}) as changed
    {%- else %}
    select {% for column in key %}this.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ this }} as this
    semi join ({{ select_changed(input, plan, window) }}) as changed on {{ input.on }}
    {%- endif %}
{% endmacro %}

{#- The keys of an input whose rows appeared, changed or went away within its window. -#}
{% macro select_changed(input, plan, window) %}
    {%- set stamp = '_batch_id' if input.kind == 'source' else '_revision' -%}
    {%- set presence = ', true as is_present' if input.kind == 'ref' else '' -%}
    {%- if plan.everything %}
        select {{ input.key | join(', ') }}{{ presence }} from {{ input.relation }}
    {%- else %}
        {%- set rows = window[input.name] %}
        {%- set gone = window[input.name ~ ' touched'] if input.kind == 'source' else rows %}
        select {{ input.key | join(', ') }}{{ presence }} from {{ input.relation }}
        where {{ stamp ~ ' > ' ~ rows.low ~ ' and ' ~ stamp ~ ' <= ' ~ rows.high if rows.high > rows.low else 'false' }}
        {%- if gone.high > gone.low %}
        {%- set type = {} %}
        {%- for column in adapter.get_columns_in_relation(input.relation) -%}
            {%- do type.update({column.name: column.dtype}) -%}
        {%- endfor %}
        union
        select {% for column in input.key -%}
            cast(json_extract_string(key_json, '{{ column }}') as {{ type[column] }}){{ ', ' if not loop.last }}
        {%- endfor %}{{ ', false' if presence }}
        {%- if input.kind == 'source' %}
        from {{ source('ops', 'touched_keys') }}
        where table_name = '{{ input.table }}' and batch_id > {{ gone.low }} and batch_id <= {{ gone.high }}
        {%- else %}
        from dbt_state.vanished_keys
        where model = '{{ input.name }}' and revision > {{ gone.low }} and revision <= {{ gone.high }}
        {%- endif %}
        {%- endif %}
    {%- endif %}
{% endmacro %}

{#-
  For `where`: the row belongs to a key this build recomputes; always true in a full build.
  columns: the row's columns that make (part of) this model's key. prune_by: {column: expression over affected_keys},
  a BIGINT or DATE column whose range over the affected keys lets DuckDB skip files; the first key column if it is one.
-#}
{% macro is_affected(columns=none, prune_by=none) %}
{%- if is_incremental() -%}
    {%- set columns = columns or config.get('unique_key') -%}
    {%- set prune_by = prune_by if prune_by is not none else {columns[0]: columns[0]} -%}
    ({{ columns | join(', ') }}) in (select {{ columns | join(', ') }} from affected_keys)
    {%- for column, expression in prune_by.items() %}
    and {{ column }} >= (select min({{ expression }}) from affected_keys)
    and {{ column }} <= (select max({{ expression }}) from affected_keys)
    {%- endfor %}
{%- else -%} true
{%- endif -%}
{% endmacro %}
