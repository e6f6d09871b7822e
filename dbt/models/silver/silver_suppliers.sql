{{ config(unique_key=['supplier_id'], meta={'affected_by': [{'source': 'suppliers'}]}) }}

with latest as (
    select * from {{ source('bronze', 'suppliers') }}
    where {{ is_affected() }}
    qualify {{ is_latest('suppliers') }}
)

select
    supplier_id,
    {{ clean_text('supplier_code') }} as supplier_code,
    {{ clean_text('name') }} as name,
    upper({{ clean_text('country_code') }}) as country_code,
    lead_time_days,
    coalesce(preferred, false) as is_preferred,
    effective_dt,
    coalesce(lead_time_days >= 0, false) as is_valid_lead_time,
    _batch_id,
    {{ this_revision() }} as _revision
from latest
