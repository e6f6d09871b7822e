{#- The key holds the customer although an order has one only: when an order passes to another customer, the row of the
    first one vanishes, and who reads this model recomputes both. -#}
{{ config(
    unique_key=['order_id', 'customer_key'],
    meta={'affected_by': [
        {'ref': 'fct_sales', 'provides': {'customer_key': '(
            select any_value(sales.customer_key) from input as sales where sales.order_id = changed.order_id
        )'}},
        {'ref': 'fct_sales', 'on': 'this.order_id = changed.order_id'}
    ]}
) }}

with sales as (
    select * from {{ ref('fct_sales') }}
    where {{ is_affected() }}
)

select
    order_id,
    customer_key,
    min(date) as date,
    count(*) as lines,
    cast(sum(quantity) as bigint) as units,
    cast(sum(net_aud) as decimal(28, 4)) as net_aud,
    max(_batch_id) as _batch_id,
    {{ this_revision() }} as _revision
from sales
group by order_id, customer_key
