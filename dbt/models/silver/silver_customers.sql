{{ config(unique_key=['customer_id'], meta={'affected_by': [{'source': 'customers'}]}) }}

with latest as (
    select * from {{ source('bronze', 'customers') }}
    where {{ is_affected() }}
    qualify {{ is_latest('customers') }}
),

cleaned as (
    select
        *,
        lower({{ clean_text('email') }}) as clean_email,
        -- The source writes a missing number as the word None.
        nullif({{ clean_text('phone') }}, 'None') as clean_phone
    from latest
)

select
    customer_id,
    {{ clean_text('natural_key') }} as natural_key,
    {{ clean_text('first_name') }} as first_name,
    {{ clean_text('last_name') }} as last_name,
    clean_email as email,
    clean_phone as phone,
    {{ clean_text('address_line1') }} as address_line1,
    {{ clean_text('address_line2') }} as address_line2,
    {{ clean_text('city') }} as city,
    upper({{ clean_text('state_region') }}) as state_region,
    {{ clean_text('postcode') }} as postcode,
    upper({{ clean_text('country_code') }}) as country_code,
    latitude,
    longitude,
    birth_date,
    join_ts,
    coalesce(is_vip, false) as is_vip,
    -- Without an answer there is no consent.
    coalesce(gdpr_consent, false) as has_gdpr_consent,
    effective_dt,
    coalesce(regexp_matches(clean_email, '^[^@\s]+@[^@\s]+\.[^@\s]+$'), false) as is_valid_email,
    coalesce(length(regexp_replace(clean_phone, '[^0-9]', '', 'g')) between 6 and 15, false) as is_valid_phone,
    _batch_id,
    {{ this_revision() }} as _revision
from cleaned
