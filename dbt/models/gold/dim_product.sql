{{ config(unique_key=['product_id'], meta={'affected_by': [{'source': 'products', 'changes': true}]}) }}
{%- set attributes = ['sku', 'name', 'category', 'subcategory', 'list_price', 'currency', 'is_discontinued',
    'introduced_dt', 'discontinued_dt'] %}
{#- Without a day it holds since ever, as does what is dated so: `greatest` passes over null. -#}
{%- set since = "greatest(effective_dt, date '1900-01-01')" %}
{%- set deletes = execute and get_contract('products').config.meta.load.delete_when %}

-- Versions are read off the history of changes, not off what a run happened to see: they can be rebuilt at any time.
with last_of_day as (
    select * from {{ source('bronze', 'products_changes') }}
    where {{ is_affected() }}
    qualify {{ is_latest('products', per=[since]) }}
),

states as (
    select
        product_id,
        {{ clean_text('sku') }} as sku,
        {{ clean_text('name') }} as name,
        {{ clean_text('category') }} as category,
        {{ clean_text('subcategory') }} as subcategory,
        current_price as list_price,
        upper({{ clean_text('currency') }}) as currency,
        coalesce(is_discontinued, false) as is_discontinued,
        introduced_dt,
        discontinued_dt,
        {{ since }} as effective_dt,
        -- The column is there only while the contract says what deletes a product.
        {{ 'coalesce(_is_deleted, false)' if deletes else 'false' }} as is_deleted,
        _batch_id
    from last_of_day
),

-- A record that changes nothing begins no version; a second deletion deletes nothing, whatever else it says.
turns as (
    select
        *,
        case when not is_deleted then row({{ attributes | join(', ') }}) end as state
    from states
    window by_product as (partition by product_id order by effective_dt)
    qualify row_number() over by_product = 1 or state is distinct from lag(state) over by_product
),

-- A deletion ends the version before it, and is none itself.
ended as (
    select
        *,
        row_number() over by_product = 1 as is_first,
        lead(effective_dt) over by_product as valid_to
    from turns
    window by_product as (partition by product_id order by effective_dt)
),

dated as (
    select
        *,
        row_number() over by_product as version_number,
        -- The first state known holds since ever: a sale before it proves that the product existed.
        case when is_first then date '1900-01-01' else effective_dt end as valid_from,
        lag(list_price) over by_product as previous_list_price
    from ended
    where not is_deleted
    window by_product as (partition by product_id order by effective_dt)
)

select
    {{ surrogate_key(['product_id', 'valid_from']) }} as product_key,
    product_id,
    {{ attributes | join(',\n    ') }},
    previous_list_price,
    list_price - previous_list_price as list_price_change,
    version_number,
    valid_from,
    valid_to,
    valid_to is null as is_current,
    coalesce(list_price > 0, false) as is_valid_price,
    _batch_id,
    {{ this_revision() }} as _revision
from dated
union all by name
select
    {{ unknown_key() }} as product_key,
    cast(-1 as bigint) as product_id,
    'unknown' as name,
    'unknown' as category,
    false as is_discontinued,
    1 as version_number,
    date '1900-01-01' as valid_from,
    true as is_current,
    false as is_valid_price,
    {{ this_revision() }} as _revision
