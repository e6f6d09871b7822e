-- The first promise: rows read = accepted + quarantined, or all of them refused.
select *
from {{ ref('fct_ingestion_audit') }}
where rows_read is distinct from rows_accepted + rows_quarantined + rows_refused
