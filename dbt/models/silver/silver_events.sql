{{ config(
    unique_key=['event_id'],
    meta={'affected_by': [
        {'source': 'events'},
        {'ref': 'silver_customers', 'flag': 'has_known_customer'}
    ]}
) }}

with latest as (
    -- The loader takes any text for JSON; what is none has nothing to unpack.
    select *, try_cast(metadata as json) as unpacked from {{ source('bronze', 'events') }}
    where {{ is_affected() }}
    qualify {{ is_latest('events') }}
)

select
    latest.event_id,
    latest.event_ts,
    latest.event_dt,
    lower({{ clean_text('latest.event_type') }}) as event_type,
    latest.user_id as customer_id,
    {{ clean_text('latest.session_id') }} as session_id,
    {{ clean_text("json_extract_string(latest.unpacked, '$.ua')") }} as user_agent,
    {{ clean_text("json_extract_string(latest.unpacked, '$.ip')") }} as ip_address,
    latest.metadata is null or latest.unpacked is not null as is_valid_metadata,
    latest.user_id is null as is_anonymous,
    customers.customer_id is not null as has_known_customer,
    latest._batch_id,
    {{ this_revision() }} as _revision
from latest
left join {{ ref('silver_customers') }} as customers on latest.user_id = customers.customer_id
