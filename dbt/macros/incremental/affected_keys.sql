{#-
  Which keys a build must recompute. A model names its inputs under `meta.affected_by`, one entry each:
    source: orders            a contract's table: its new batches, and the keys that commits took away (touched_keys)
    changes: true             with source: read the history <table>_changes in place of the current state
    ref: silver_customers     a model: the rows its builds wrote since, and the keys they removed
    provides: {key: expr}     the input brings new keys: how to make this model's key from `changed`; in it, `from input`
                              reads the input, wherever that is built
    on: <sql>                 the input is looked up: which rows of `this` depend on `changed`
    flag: has_known_customer  only whether the key exists matters: look up the rows of `this` whose flag says otherwise
    unless: <sql>           rows of `this` that came out right already: those for which `input` has a row like that
  `changed` has the columns of the input's own key and, for a model, `is_present` (false: the key is gone). An input
  that has all columns of this model's key provides them, if nothing else is said; any other is looked up by its key.
-#}
{% macro get_inputs() %}
    {%- set own_key = config.get('unique_key') -%}
    {%- set inputs = [] -%}
    {%- for entry in config.get('meta', {}).get('affected_by', []) -%}
        {%- if entry.source -%}
            {%- set contract = get_contract(entry.source) -%}
            {%- set table = entry.source ~ ('_changes' if entry.changes else '') -%}
            {%- set input = {'name': contract.schema ~ '.' ~ table, 'kind': 'source', 'table': entry.source,
                             'key': contract.config.meta.load.key, 'relation': source(contract.source_name, table)} -%}
        {%- else -%}
            {%- set node = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
                | selectattr('name', 'equalto', entry.ref) | first -%}
            {%- set relation = ref(entry.ref) -%}
            {#- With --defer it may be of another warehouse, which keeps its own count of builds. -#}
            {%- set input = {'name': entry.ref, 'kind': 'ref', 'key': node.config.unique_key, 'relation': relation,
                             'state': adapter.quote(relation.database) ~ '.dbt_state'} -%}
        {%- endif -%}
        {%- set missing = own_key | reject('in', input.key) | list -%}
        {%- if entry.on -%}
            {%- do input.update({'on': entry.on}) -%}
        {%- elif entry.provides or not (missing or entry.flag) -%}
            {%- set provides = {} -%}
            {%- for column, expression in (entry.provides or {}).items() -%}
                {%- do provides.update({column: expression | replace('from input ', 'from ' ~ input.relation ~ ' ')}) -%}
            {%- endfor -%}
            {%- do input.update({'provides': provides}) -%}
        {%- else -%}
            {%- set terms = [] -%}
            {%- for column in input.key -%}
                {%- do terms.append('this.' ~ column ~ ' = changed.' ~ column) -%}
            {%- endfor -%}
            {%- if entry.flag %}{% do terms.append('this.' ~ entry.flag ~ ' <> changed.is_present') %}{% endif -%}
            {%- do input.update({'on': terms | join(' and ')}) -%}
        {%- endif -%}
        {%- do input.update({'unless': entry.unless}) -%}
        {%- do inputs.append(input) -%}
    {%- endfor -%}
    {{ return(inputs) }}
{% endmacro %}

{#-
  The window of every input that this build looks at: (low, high]. high is what is there now; what arrives later waits
  for the next build, which begins where taken_in ends. A model that cannot trust its windows recomputes every key: then `everything` is true.
-#}
{% macro get_windows(inputs) %}
    {%- set plan = {'everything': not is_incremental(), 'why': none, 'windows': {}, 'vanished': {}} -%}
    {%- set low = {} -%}
    {%- if is_incremental() -%}
        {%- do plan.update({'why': find_reason_to_distrust()}) -%}
        {%- do plan.update({'everything': plan.why is not none}) -%}
    {%- endif -%}
    {%- if not plan.everything -%}
        {%- set of_model = " where model = '" ~ model.name ~ "'" -%}
        {%- for row in run_query("select input, watermark from dbt_state.watermarks" ~ of_model) -%}
            {%- do low.update({row[0]: row[1]}) -%}
        {%- endfor -%}
    {%- endif -%}

    {#- One query asks for all; its literal bounds let DuckDB skip the files of older batches. -#}
    {%- set questions = [] -%}
    {%- for input in inputs -%}
        {%- if input.kind == 'source' -%}
            {%- set touched = input.name ~ ' touched' -%}
            {%- set of_table = " where table_name = '" ~ input.table ~ "'" -%}
            {%- do questions.append("select '" ~ input.name ~ "' as input, max(_batch_id) as high, null as other,"
                ~ " null as gone, null as newest from " ~ input.relation
                ~ " where _batch_id > " ~ low.get(input.name, -1)) -%}
            {%- do questions.append("select '" ~ touched ~ "', max(touched_id), max(batch_id), max(rebuilt_id),"
                ~ " (select max(batch_id) from dbt_state.batches_at_start)"
                ~ " from dbt_state.batches_at_start" ~ of_table) -%}
        {%- else -%}
            {%- set of_input = " where model = '" ~ input.name ~ "'" -%}
            {%- do questions.append("select '" ~ input.name ~ "', max(revision), max(rebuilt_revision),"
                ~ " (select max(revision) from " ~ input.state ~ ".vanished_keys" ~ of_input ~ "), null"
                ~ " from " ~ input.state ~ ".revisions" ~ of_input) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set answers = {} -%}
    {%- for row in run_query(questions | join(' union all ')) -%}
        {%- do answers.update({row[0]: {'high': row[1], 'other': row[2], 'gone': row[3], 'newest': row[4]}}) -%}
    {%- endfor -%}

    {%- for name, answer in answers.items() -%}
        {%- set known = low.get(name, -1) -%}
        {%- set high = known if answer.high is none else answer.high -%}
        {%- set taken_in = high -%}{#- lower than before where it is another warehouse's count -#}
        {%- if name.endswith(' touched') -%}
            {#- The loader writes touched keys before the commit that touches them. So they are recomputed at once, and
                again until the batch is seen: in the table, in the ledger, or by a later one of any table, since there
                is one loader at a time. A commit that only takes rows away, killed before the ledger, shows nowhere. -#}
            {%- set in_table = plan.windows[name[:-8]].high -%}
            {%- set seen = [in_table, answer.other or -1, (answer.newest or 0) - 1] | max -%}
            {%- set taken_in = [[high, seen] | min, known] | max -%}
            {%- if not plan.everything and answer.gone is not none and answer.gone > known -%}
                {%- do plan.update({'everything': true, 'why': name[:-8] ~ ' was rebuilt'}) -%}
            {%- endif -%}
        {%- elif not plan.everything and name not in low -%}
            {%- do plan.update({'everything': true, 'why': name ~ ' is a new input'}) -%}
        {%- elif not plan.everything and (high < known or (answer.other is not none and answer.other > known)) -%}
            {#- A model counts upwards only: a lower count is that of another warehouse (--defer). -#}
            {%- do plan.update({'everything': true, 'why': name ~ ' was rebuilt'}) -%}
        {%- endif -%}
        {%- do plan.windows.update({name: {'low': known, 'high': [high, known] | max, 'taken_in': taken_in}}) -%}
        {#- Mostly no key vanished since: then nobody need look, nor ask for the types of the keys. -#}
        {%- do plan.vanished.update({name: answer.gone is not none and answer.gone > known}) -%}
    {%- endfor -%}
    {{ return(plan) }}
{% endmacro %}

{#- Why what the model has noted about its own progress cannot be relied on; none if it can. -#}
{% macro find_reason_to_distrust() %}
    {%- set found = run_query("
        select
            revisions.checksum,
            revisions.lake = lake_root() || ' ' || lake_id(),
            coalesce((select max(batch_id) from dbt_state.batches_at_start), -1)
                >= coalesce((select max(watermark) from dbt_state.watermarks
                    where model = '" ~ model.name ~ "' and input like '%.%'), -1)
        from dbt_state.revisions
        where model = '" ~ model.name ~ "'") -%}
    {%- if found | length == 0 -%} {{ return('how far it had got is not known') }}
    {%- elif found.rows[0][0] != get_checksum() -%} {{ return('its SQL has changed') }}
    {%- elif not found.rows[0][1] -%} {{ return('it was built from another lake') }}
    {%- elif not found.rows[0][2] -%} {{ return('it has taken in more than the lake has') }}
    {%- endif -%}
    {{ return(none) }}
{% endmacro %}

{#- Pre-hook, inside the model's transaction: fix the windows, and for an incremental build collect the keys. -#}
{% macro collect_affected_keys() %}
{%- if execute and model.config.materialized == 'incremental' %}
    {%- if flags.EMPTY and is_incremental() %}
        {%- set way_out = "Build it in a warehouse of its own: LAKEOPS_WAREHOUSE=/tmp/empty.duckdb" -%}
        {{ exceptions.raise_compiler_error("--empty would take all rows of " ~ this ~ " for gone. " ~ way_out) }}
    {%- endif %}
    {%- do refuse_dropped_columns() -%}
    {%- set key = config.get('unique_key') %}
    {%- set inputs = get_inputs() %}
    {%- set plan = get_windows(inputs) %}
    create or replace temp table input_windows (input varchar, watermark bigint);
    insert into input_windows values
        {%- for name, window in plan.windows.items() %}
        ('{{ name }}', {{ window.taken_in }}){{ ',' if not loop.last }}
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
    {%- if input.provides is defined %}
    select {% for column in key -%}
        {{ input.provides.get(column, 'changed.' ~ column) }} as {{ column }}{{ ', ' if not loop.last }}
    {%- endfor %}
    from ({{ select_changed(input, plan) }}) as changed
    {%- else %}
    select {% for column in key %}this.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ this }} as this
    semi join ({{ select_changed(input, plan) }}) as changed on {{ input.on }}
    {%- if input.unless %}
    where not exists (select 1 from {{ input.relation }} as input where {{ input.unless }})
    {%- endif %}
    {%- endif %}
{% endmacro %}

{#- The keys of an input whose rows appeared, changed or went away within its window. -#}
{% macro select_changed(input, plan) %}
    {%- set stamp = '_batch_id' if input.kind == 'source' else '_revision' -%}
    {%- set presence = ', true as is_present' if input.kind == 'ref' else '' -%}
    {%- if plan.everything %}
        select {{ input.key | join(', ') }}{{ presence }} from {{ input.relation }}
    {%- else %}
        {%- set rows = plan.windows[input.name] %}
        {%- set gone = plan.windows[input.name ~ ' touched'] if input.kind == 'source' else rows %}
        {%- set is_gone = gone.high > gone.low and (input.kind == 'source' or plan.vanished[input.name]) %}
        select {{ input.key | join(', ') }}{{ presence }} from {{ input.relation }}
        where {{ stamp ~ ' > ' ~ rows.low ~ ' and ' ~ stamp ~ ' <= ' ~ rows.high if rows.high > rows.low else 'false' }}
        {%- if is_gone %}
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
        from {{ input.state }}.vanished_keys
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
{{- affected_marks()[0] }}
{#- A unit test has no `this`; it sees the full build. -#}
{%- if this and is_incremental() -%}
    {%- set columns = columns or config.get('unique_key') -%}
    {%- set prune_by = prune_by if prune_by is not none else {columns[0]: columns[0]} -%}
    ({{ columns | join(', ') }}) in (select {{ columns | join(', ') }} from affected_keys)
    {%- for column, expression in prune_by.items() %}
    and {{ column }} >= (select min({{ expression }}) from affected_keys)
    and {{ column }} <= (select max({{ expression }}) from affected_keys)
    {%- endfor %}
{%- else -%} true
{%- endif -%}
{{ affected_marks()[1] }}
{%- endmacro %}

{#- Comments around that condition, by which the rest of the SQL can be told from it. -#}
{% macro affected_marks() -%}
    {{ return(['/* affected */', '/* ... */']) }}
{%- endmacro %}
