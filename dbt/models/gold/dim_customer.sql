{{ config(unique_key=['customer_id'], meta={'affected_by': [{'ref': 'silver_customers'}]}) }}

with customers as (
    select * from {{ ref('silver_customers') }}
    where {{ is_affected() }}
),

-- Who has not consented is known by attributes that point at nobody.
shown as (
    select
        {{ surrogate_key(['customer_id']) }} as customer_key,
        customer_id,
        {% for column in ['first_name', 'last_name', 'email', 'phone', 'address_line1', 'address_line2'] -%}
        case when has_gdpr_consent then {{ column }} else {{ mask(column) }} end as {{ column }},
        {% endfor -%}
        case when has_gdpr_consent then city end as city,
        state_region,
        case when has_gdpr_consent then postcode else left(postcode, 1) end as postcode,
        country_code,
        case when has_gdpr_consent then birth_date else date_trunc('year', birth_date)::date end as birth_date,
        join_ts,
        {{ utc_day('join_ts') }} as join_dt,
        is_vip,
        has_gdpr_consent,
        is_valid_email,
        is_valid_phone,
        _batch_id
    from customers
)

select *, {{ this_revision() }} as _revision
from shown
union all by name
select
    {{ unknown_key() }} as customer_key,
    cast(-1 as bigint) as customer_id,
    false as is_vip,
    false as has_gdpr_consent,
    false as is_valid_email,
    false as is_valid_phone,
    {{ this_revision() }} as _revision
