{{ config(unique_key=['store_id'], meta={'affected_by': [{'ref': 'silver_stores'}]}) }}

with stores as (
    select * from {{ ref('silver_stores') }}
    where {{ is_affected() }}
)

select
    {{ surrogate_key(['store_id']) }} as store_key,
    store_id,
    store_code,
    name,
    channel,
    region,
    state,
    latitude,
    longitude,
    open_dt,
    close_dt,
    close_dt is null as is_open,
    is_valid_position,
    _batch_id,
    {{ this_revision() }} as _revision
from stores
union all by name
select
    {{ unknown_key() }} as store_key,
    cast(-1 as bigint) as store_id,
    'unknown' as name,
    'unknown' as channel,
    'unknown' as region,
    'unknown' as state,
    false as is_open,
    false as is_valid_position,
    {{ this_revision() }} as _revision
