{{ config(unique_key=['supplier_id'], meta={'affected_by': [{'ref': 'silver_suppliers'}]}) }}

with suppliers as (
    select * from {{ ref('silver_suppliers') }}
    where {{ is_affected() }}
)

select
    {{ surrogate_key(['supplier_id']) }} as supplier_key,
    supplier_id,
    supplier_code,
    name,
    country_code,
    lead_time_days,
    is_preferred,
    is_valid_lead_time,
    _batch_id,
    {{ this_revision() }} as _revision
from suppliers
union all by name
select
    {{ unknown_key() }} as supplier_key,
    cast(-1 as bigint) as supplier_id,
    'unknown' as name,
    false as is_preferred,
    false as is_valid_lead_time,
    {{ this_revision() }} as _revision
