//! The module for Python. Nothing is decided here.

use crate::framing::{self, Framed};
use crate::headers::headers as headers_at;
use crate::limits::{CATALOGUE_FIELDS_MAX, NAME_CHARS_MAX};
use crate::reader::{Place, Reader};
use crate::rows::Rows;
use crate::text::Printable;
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Below this, letting other threads run costs more than it brings.
const UNLOCKED_FROM_BYTES: usize = 32 * 1024;

type Column<'py, T> = Bound<'py, PyArray1<T>>;
type Table<'py, T> = Bound<'py, PyArray2<T>>;
type FramedColumns<'py> = (Column<'py, i64>, Column<'py, i64>, Table<'py, i32>, usize, i64, Option<&'static str>);
type ReadColumns<'py> = (
    Column<'py, i8>,
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, bool>,
    Table<'py, u64>,
    Table<'py, i64>,
    Column<'py, i64>,
    Vec<String>,
    Column<'py, i64>,
    Column<'py, i64>,
);

/// A panic is a RuntimeError: what PyO3 makes of it passes by `except Exception`.
fn guarded<T>(run: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(PyRuntimeError::new_err("the native reader failed")))
}

/// Runs what needs no Python, with others running beside it if it takes long.
fn unlocked<T: Send>(py: Python<'_>, bytes: usize, run: impl FnOnce() -> T + Send) -> T {
    if bytes < UNLOCKED_FROM_BYTES { run() } else { py.detach(run) }
}

fn table<T: numpy::Element, const N: usize>(py: Python<'_>, rows: Vec<[T; N]>) -> PyResult<Table<'_, T>> {
    let shape = (rows.len(), N);
    let table = Array2::from_shape_vec(shape, rows.into_flattened()).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(table.into_pyarray(py))
}

fn check_size(data: &[u8]) -> PyResult<()> {
    if i32::try_from(data.len()).is_ok() { Ok(()) } else { Err(PyValueError::new_err("2 GiB or more")) }
}

fn columns_of<'py>(py: Python<'py>, framed: Framed) -> PyResult<FramedColumns<'py>> {
    Ok((
        framed.offsets.into_pyarray(py),
        framed.timestamps.into_pyarray(py),
        table(py, framed.places)?,
        framed.next_at,
        framed.next_offset,
        framed.status.map(framing::Status::name),
    ))
}

/// Where the records of whole batches are, from byte `at` on, up to the first batch that is not an ordinary one.
#[pyfunction]
fn frame<'py>(py: Python<'py>, data: &Bound<'py, PyBytes>, at: usize, from_offset: i64) -> PyResult<FramedColumns<'py>> {
    guarded(|| {
        let data = data.as_bytes();
        check_size(data)?;
        columns_of(py, unlocked(py, data.len().saturating_sub(at), || framing::frame(data, at, from_offset)))
    })
}

/// The same for one batch, which is in clear and was checked before.
#[pyfunction]
fn frame_batch<'py>(py: Python<'py>, data: &Bound<'py, PyBytes>, from_offset: i64) -> PyResult<FramedColumns<'py>> {
    guarded(|| {
        let data = data.as_bytes();
        check_size(data)?;
        columns_of(py, unlocked(py, data.len(), || framing::frame_batch(data, from_offset)))
    })
}

/// Names and values of `count` headers from byte `at` on.
#[pyfunction]
fn headers<'py>(py: Python<'py>, data: &Bound<'py, PyBytes>, at: usize, count: usize) -> PyResult<Bound<'py, PyTuple>> {
    guarded(|| {
        let mut found = Vec::new();
        for header in headers_at(data.as_bytes(), at, count) {
            let (name, value) = header.ok_or_else(|| PyValueError::new_err("there are no such headers"))?;
            let name = match std::str::from_utf8(name) {
                Ok(name) => PyString::new(py, name),
                Err(_) => PyString::from_encoded_object(&PyBytes::new(py, name), Some(c"utf-8"), Some(c"backslashreplace"))?,
            };
            found.push((name, value.map(|value| PyBytes::new(py, value))));
        }
        PyTuple::new(py, found)
    })
}

/// Reads the events of one partition.
#[pyclass(module = "taximeter_native")]
struct EventReader {
    reader: Reader,
    learn: Py<PyAny>,
    printable: Py<PyAny>,
}

#[pymethods]
impl EventReader {
    #[new]
    fn new(partition: u32, usage_fields: Vec<Bound<'_, PyString>>, learn: Py<PyAny>, printable: Py<PyAny>) -> PyResult<Self> {
        if usage_fields.len() > CATALOGUE_FIELDS_MAX {
            return Err(PyValueError::new_err(format!("more than {CATALOGUE_FIELDS_MAX} usage fields")));
        }
        let mut fields = Vec::new();
        for name in usage_fields {
            let chars = name.len()?;
            let can_be = (1..=NAME_CHARS_MAX).contains(&chars) && name.call_method0("isprintable")?.is_truthy()?;
            fields.push(if can_be { Some(Box::from(name.to_string().as_bytes())) } else { None });
        }
        Ok(Self { reader: Reader::new(u64::from(partition), fields), learn, printable })
    }

    /// What the records `start` to `end` say.
    fn read<'py>(
        &mut self,
        py: Python<'py>,
        data: &Bound<'py, PyBytes>,
        timestamps: PyReadonlyArray1<'py, i64>,
        places: PyReadonlyArray2<'py, i32>,
        start: usize,
        end: usize,
    ) -> PyResult<ReadColumns<'py>> {
        let read = guarded(|| self.rows(py, data.as_bytes(), &timestamps, &places, start, end));
        if read.is_err() {
            // Nothing that was not learnt may stay.
            self.reader.series.new = Default::default();
        }
        columns_of_rows(py, read?)
    }

    /// Forgets the numbers of all series.
    fn forget(&mut self) {
        self.reader.series.forget();
    }

    fn __len__(&self) -> usize {
        self.reader.series.len()
    }
}

impl EventReader {
    fn rows(
        &mut self,
        py: Python<'_>,
        data: &[u8],
        timestamps: &PyReadonlyArray1<'_, i64>,
        places: &PyReadonlyArray2<'_, i32>,
        start: usize,
        end: usize,
    ) -> PyResult<Rows> {
        let wrong = || PyValueError::new_err("these are no columns of records");
        let (all, rest) = places.as_slice()?.as_chunks::<6>();
        if places.shape().get(1) != Some(&6) || !rest.is_empty() {
            return Err(wrong());
        }
        let places: &[Place] = all.get(start..end).ok_or_else(wrong)?;
        let timestamps = timestamps.as_slice()?.get(start..end).ok_or_else(wrong)?;
        let bytes = places.iter().map(|place| place[3].max(0) as usize).sum();
        let mut rows = Rows::new(self.reader.fields.len());
        while !unlocked(py, bytes, || self.reader.read(data, timestamps, places, &mut rows)) {
            let bits = self.printable.call0(py)?;
            self.reader.printable = Some(Printable::from_bits(bits.bind(py).cast::<PyBytes>()?.as_bytes()));
        }
        if !self.reader.series.new.pairs.is_empty() {
            let new = std::mem::take(&mut self.reader.series.new);
            let numbers = self.numbers(py, &new.pairs)?;
            rows.resolve(&numbers);
            self.reader.series.learn(new, &numbers);
        }
        Ok(rows)
    }

    /// What Python says of the texts of new series.
    fn numbers(&self, py: Python<'_>, pairs: &[(Box<[u8]>, usize)]) -> PyResult<Vec<i64>> {
        let ask = |(texts, customer): &(Box<[u8]>, usize)| {
            let (customer, dimensions) = texts.split_at(*customer);
            self.learn.call1(py, (PyBytes::new(py, customer), PyBytes::new(py, dimensions)))?.extract(py)
        };
        pairs.iter().map(ask).collect()
    }
}

fn columns_of_rows(py: Python<'_>, rows: Rows) -> PyResult<ReadColumns<'_>> {
    let events = rows.len();
    let usage = PyArray2::zeros(py, (rows.usage.len(), events), false);
    {
        let mut usage = usage.try_readwrite().map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        for (column, found) in usage.as_slice_mut()?.chunks_exact_mut(events.max(1)).zip(&rows.usage) {
            for (quantity, &found) in column.iter_mut().zip(found) {
                *quantity = found;
            }
        }
    }
    Ok((
        rows.way.into_pyarray(py),
        rows.records.into_pyarray(py),
        rows.series.into_pyarray(py),
        rows.times.into_pyarray(py),
        rows.stamped.into_pyarray(py),
        table(py, rows.fingerprints)?,
        usage,
        rows.batches.records.into_pyarray(py),
        rows.batches.emitters,
        rows.batches.firsts.into_pyarray(py),
        rows.batches.counts.into_pyarray(py),
    ))
}

#[pymodule]
mod taximeter_native {
    #[pymodule_export]
    use super::{EventReader, frame, frame_batch, headers};
}
