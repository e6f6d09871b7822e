{{ config(unique_key=['product_id'], meta={'affected_by': [{'source': 'products'}]}) }}

with latest as (
    select * from {{ source('bronze', 'products') }}
    where {{ is_affected() }}
    qualify {{ is_latest('products') }}
)

select
    product_id,
    {{ clean_text('sku') }} as sku,
    {{ clean_text('name') }} as name,
    {{ clean_text('category') }} as category,
    {{ clean_text('subcategory') }} as subcategory,
    current_price,
    upper({{ clean_text('currency') }}) as currency,
    coalesce(is_discontinued, false) as is_discontinued,
    introduced_dt,
    discontinued_dt,
    effective_dt,
    coalesce(current_price > 0, false) as is_valid_price,
    _batch_id,
    {{ this_revision() }} as _revision
from latest
