{{ config(unique_key=['product_id'], meta={'affected_by': [{'source': 'products', 'changes': true}]}) }}
{%- set attributes = ['sku', 'name', 'category', 'subcategory', 'list_price', 'currency', 'is_discontinued',
    'introduced_dt', 'discontinued_dt'] %}

-- Versions are read off the history of changes, not off what a run happened to see: they can be rebuilt at any time.
with last_of_day as (
    select * from {{ source('bronze', 'products_changes') }}
    where {{ is_affected() }}
    qualify {{ is_latest('products', per=['effective_dt']) }}
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
        effective_dt,
        _batch_id
    from last_of_day
),

-- A record that changes nothing begins no version.
versions as (
    select * from states
    window by_product as (partition by product_id order by effective_dt nulls first)
    qualify row({{ attributes | join(', ') }}) is distinct from lag(row({{ attributes | join(', ') }})) over by_product
),

dated as (
    select
        *,
        row_number() over by_product as version_number,
        -- The first state known holds since ever: a sale before it proves that the product existed.
        case when row_number() over by_product = 1 then date '1900-01-01' else effective_dt end as valid_from,
        lead(effective_dt) over by_product as valid_to,
        lag(list_price) over by_product as previous_list_price
    from versions
    window by_product as (partition by product_id order by effective_dt nulls first)
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
