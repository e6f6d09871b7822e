-- "Today" is the newest day of an order, not the clock: the same data gives the same answer. But a mistyped year must
-- not make everybody old; a day later than the clock's, it may be already in the east.
with today as (
    select max(last_order_date) as date from {{ ref('dim_customer') }}
    where last_order_date <= {{ utc_day('now()') }} + 1
),

-- Orders in a currency without a rate have no value, and must not make the others' average smaller.
rated as (
    select customer_key, count(net_aud) as orders
    from {{ ref('customer_orders') }}
    group by all
)

select
    customers.customer_id,
    customers.first_name,
    customers.last_name,
    customers.country_code as country,
    customers.state_region as state,
    customers.is_vip,
    customers.segment,
    date_sub('year', customers.birth_date, today.date) as age,
    customers.join_dt as customer_since,
    date_diff('day', customers.join_dt, today.date) as days_as_customer,
    customers.first_order_date,
    customers.last_order_date,
    date_diff('day', customers.last_order_date, today.date) as days_since_last_order,
    customers.orders,
    customers.lifetime_value_aud,
    {{ aud_per('customers.lifetime_value_aud', 'rated.orders') }} as aud_per_order
from {{ ref('dim_customer') }} as customers
cross join today
left join rated using (customer_key)
where customers.customer_key <> {{ unknown_key() }}
