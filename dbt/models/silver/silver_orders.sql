{{ config(
    unique_key=['order_id'],
    meta={'affected_by': [
        {'source': 'orders'},
        {'ref': 'silver_customers', 'flag': 'has_known_customer'},
        {'ref': 'silver_stores', 'flag': 'has_known_store'}
    ]}
) }}

with latest as (
    select * from {{ source('bronze', 'orders') }}
    where {{ is_affected() }}
    qualify {{ is_latest('orders') }}
)

select
    latest.order_id,
    latest.order_ts,
    latest.order_dt_local,
    latest.customer_id,
    latest.store_id,
    {{ clean_text('latest.channel') }} as channel,
    upper({{ clean_text('latest.payment_method') }}) as payment_method,
    upper({{ clean_text('latest.coupon_code') }}) as coupon_code,
    latest.shipping_fee,
    upper({{ clean_text('latest.currency') }}) as currency,
    customers.customer_id is not null as has_known_customer,
    stores.store_id is not null as has_known_store,
    coalesce(latest.shipping_fee >= 0, false) as is_valid_shipping_fee,
    latest._batch_id,
    {{ this_revision() }} as _revision
from latest
left join {{ ref('silver_customers') }} as customers using (customer_id)
left join {{ ref('silver_stores') }} as stores using (store_id)
