//! Customers with their dimensions, by the JSON texts of both.

use crate::limits::{SERIES_BYTES_MAX, SERIES_MAX};
use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, SeedableRandomState};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

static SHARED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(drawn()));

/// By the standard library, at random: who chooses texts cannot know which of them collide.
fn drawn() -> u64 {
    RandomState::new().hash_one(0)
}

/// Quicker than the standard one, which was a quarter of the reading of a batch.
struct Hashing(SeedableRandomState);

impl Default for Hashing {
    fn default() -> Self {
        Self(SeedableRandomState::with_seed(drawn(), &SHARED))
    }
}

impl BuildHasher for Hashing {
    type Hasher = FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// The number that stands for a pair of texts until it is learnt: -1 - its place among those that are new.
pub type Number = i64;

/// Texts that are not known yet. A customer's text ends with its quote, so both in a row are never those of another pair.
#[derive(Default)]
pub struct New {
    numbers: HashMap<Box<[u8]>, Number, Hashing>,
    pub pairs: Vec<(Box<[u8]>, usize)>,
}

#[derive(Default)]
pub struct Series {
    numbers: HashMap<Box<[u8]>, Number, Hashing>,
    key: Vec<u8>,
    pub new: New,
}

impl Series {
    /// The number of a pair; below zero if it is new. None: the texts are too long.
    #[inline]
    pub fn find(&mut self, customer: &[u8], dimensions: &[u8]) -> Option<Number> {
        if customer.len() + dimensions.len() > SERIES_BYTES_MAX {
            return None;
        }
        self.key.clear();
        self.key.extend_from_slice(customer);
        self.key.extend_from_slice(dimensions);
        match self.numbers.get(self.key.as_slice()) {
            Some(number) => Some(*number),
            None => Some(self.find_new(customer.len())),
        }
    }

    #[cold]
    fn find_new(&mut self, customer_bytes: usize) -> Number {
        if let Some(number) = self.new.numbers.get(self.key.as_slice()) {
            return *number;
        }
        let number = -1 - self.new.pairs.len() as Number;
        let key: Box<[u8]> = self.key.as_slice().into();
        self.new.pairs.push((key.clone(), customer_bytes));
        self.new.numbers.insert(key, number);
        number
    }

    /// Takes what is new, and what its user says of it: the number of each, below zero for one that is not to be remembered.
    pub fn learn(&mut self, new: New, numbers: &[Number]) {
        for ((key, _), &number) in new.pairs.into_iter().zip(numbers) {
            if number >= 0 && self.numbers.len() < SERIES_MAX {
                self.numbers.insert(key, number);
            }
        }
    }

    pub fn forget(&mut self) {
        *self = Self::default();
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}
