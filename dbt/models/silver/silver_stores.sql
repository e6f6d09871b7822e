{{ config(unique_key=['store_id'], meta={'affected_by': [{'source': 'stores'}]}) }}

with latest as (
    select * from {{ source('bronze', 'stores') }}
    where {{ is_affected() }}
    qualify {{ is_latest('stores') }}
)

select
    store_id,
    {{ clean_text('store_code') }} as store_code,
    {{ clean_text('name') }} as name,
    {{ clean_text('channel') }} as channel,
    upper({{ clean_text('region') }}) as region,
    upper({{ clean_text('state') }}) as state,
    latitude,
    longitude,
    open_dt,
    close_dt,
    effective_dt,
    coalesce(latitude between -90 and 90 and longitude between -180 and 180, false) as is_valid_position,
    _batch_id,
    {{ this_revision() }} as _revision
from latest
