//! Events as columns.

use blake2b_simd::{Params, many};

/// Digested at once, in as many lanes as the machine has.
const DIGESTS: usize = 64;
pub const LONG_WAY: i8 = 0;
pub const SINGLE: i8 = 1;
pub const BATCH: i8 = 2;

/// The two halves of a fingerprint.
pub type Fingerprint = [u64; 2];

#[derive(Debug, Default)]
pub struct Batches {
    pub records: Vec<i64>,
    pub emitters: Vec<String>,
    pub firsts: Vec<i64>,
    pub counts: Vec<i64>,
}

/// A row for each event. The columns of usage fields may be shorter: what is missing are zeros.
#[derive(Debug, Default)]
pub struct Rows {
    pub way: Vec<i8>,
    pub records: Vec<i64>,
    pub series: Vec<i64>,
    pub times: Vec<i64>,
    pub stamped: Vec<bool>,
    pub fingerprints: Vec<Fingerprint>,
    pub usage: Vec<Vec<i64>>,
    pub batches: Batches,
    /// Records of batches, and a new series of each. It may be that no event belongs to it, but it must be right.
    pub new_series: Vec<(i64, i64)>,
    /// Sources and ids of events whose fingerprints are not made yet, one behind the other, and the row and end of each.
    pub digested: Vec<u8>,
    digests: Vec<(usize, usize)>,
}

impl Rows {
    pub fn new(usage_fields: usize) -> Self {
        Self { usage: vec![Vec::new(); usage_fields], ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// What was put into `digested` is the source and the id of the row that is added next.
    #[inline]
    pub fn will_digest(&mut self) {
        self.digests.push((self.len(), self.digested.len()));
    }

    /// Where the texts of the next row begin.
    pub fn digested_end(&self) -> usize {
        self.digests.last().map_or(0, |(_, end)| *end)
    }

    #[inline]
    pub fn digest_many(&mut self) {
        if self.digests.len() >= DIGESTS {
            self.digest();
        }
    }

    pub fn digest(&mut self) {
        let mut params = Params::new();
        params.hash_length(16);
        let mut begin = 0;
        let mut jobs: Vec<_> = self
            .digests
            .iter()
            .map(|&(_, end)| {
                let text = self.digested.get(begin..end).unwrap_or_default();
                begin = end;
                many::HashManyJob::new(&params, text)
            })
            .collect();
        many::hash_many(jobs.iter_mut());
        for (job, &(row, _)) in jobs.iter().zip(&self.digests) {
            let hash = job.to_hash();
            if let ([low, high], []) = hash.as_bytes().as_chunks::<8>()
                && let Some(fingerprint) = self.fingerprints.get_mut(row)
            {
                *fingerprint = [u64::from_le_bytes(*low), u64::from_le_bytes(*high)];
            }
        }
        self.digests.clear();
        self.digested.clear();
    }

    /// Puts the numbers of the series that were new, and takes out the records that have one without a number.
    pub fn resolve(&mut self, numbers: &[i64]) {
        let resolved = |series: i64| usize::try_from(-1 - series).ok().and_then(|place| numbers.get(place)).copied().unwrap_or(-1);
        let mut refused = false;
        let mut refuse = |record: i64| {
            refused = true;
            if let Some(way) = usize::try_from(record).ok().and_then(|record| self.way.get_mut(record)) {
                *way = LONG_WAY;
            }
        };
        for (series, &record) in self.series.iter_mut().zip(&self.records) {
            if *series < 0 {
                *series = resolved(*series);
                if *series < 0 {
                    refuse(record);
                }
            }
        }
        for (record, series) in std::mem::take(&mut self.new_series) {
            if resolved(series) < 0 {
                refuse(record);
            }
        }
        if refused {
            self.take_out();
        }
    }

    #[cold]
    fn take_out(&mut self) {
        let keeps = |record: &i64| usize::try_from(*record).ok().and_then(|record| self.way.get(record)).is_some_and(|way| *way != LONG_WAY);
        let kept: Vec<bool> = self.records.iter().map(keeps).collect();
        let kept_batches: Vec<bool> = self.batches.records.iter().map(keeps).collect();
        let rows = self.len();
        for column in &mut self.usage {
            if !column.is_empty() {
                column.resize(rows, 0);
                retain(column, &kept);
            }
        }
        retain(&mut self.records, &kept);
        retain(&mut self.series, &kept);
        retain(&mut self.times, &kept);
        retain(&mut self.stamped, &kept);
        retain(&mut self.fingerprints, &kept);
        retain(&mut self.batches.records, &kept_batches);
        retain(&mut self.batches.emitters, &kept_batches);
        retain(&mut self.batches.firsts, &kept_batches);
        retain(&mut self.batches.counts, &kept_batches);
    }
}

fn retain<T>(column: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    column.retain(|_| kept.next().copied().unwrap_or(false));
}
