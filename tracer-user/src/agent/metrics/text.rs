//! A picture as text: OpenMetrics for who asks for that, and Prometheus' own older format for everybody else.
//!
//! In: a [`Node`]. Out: [`Served`]. Series beyond the limit are left out, family by family from the end, and counted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as TextUnit};

use super::labels::{All, OfProcess};
use super::{Family, Histogram, Number, Numbers, OF_NODE, OF_PROCESSES, Unit};
use crate::agent::node::Node;

/// Bytes that a process's text usually has.
const USUAL: usize = 8 << 10;

/// One answer of /metrics.
#[derive(Clone, Debug, Default)]
pub struct Served {
    pub openmetrics: String,
    pub series: usize,
    /// Series that there was no room for.
    pub dropped: usize,
}

/// A picture, to be written at most once.
#[derive(Debug)]
struct Picture {
    node: Arc<Node>,
    most: usize,
    counted: Mutex<Counted>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    series: usize,
    dropped: usize,
}

/// Writes everything that a picture says, in at most so many series.
pub fn serve(node: &Arc<Node>, max_series: usize) -> Served {
    let picture =
        Arc::new(Picture { node: Arc::clone(node), most: max_series, counted: Mutex::default() });
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(&picture)));
    let mut openmetrics = String::with_capacity((node.processes.len() + 1) * USUAL);
    // Writing to a string does not fail.
    let _ = text::encode(&mut openmetrics, &registry);
    let Counted { series, dropped } =
        *picture.counted.lock().unwrap_or_else(PoisonError::into_inner);
    Served { openmetrics, series, dropped }
}

impl Served {
    /// The same in Prometheus' format of before OpenMetrics: counters are called by the names of their series, and
    /// there are neither units nor an end.
    pub fn prometheus(&self) -> String {
        let mut text = String::with_capacity(self.openmetrics.len());
        let mut lines = self.openmetrics.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
            let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE ")?.split_once(' '));
            if let (Some((name, help)), Some((_, kind))) = (help, kind) {
                let end = if kind == "counter" { "_total" } else { "" };
                text.extend(["# HELP ", name, end, " ", help, "\n"]);
                text.extend(["# TYPE ", name, end, " ", kind, "\n"]);
                lines.next();
            } else if !line.starts_with("# UNIT ") && line != "# EOF" {
                text.extend([line, "\n"]);
            }
        }
        text
    }
}

impl Collector for Picture {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut room = Room { most: self.most, counted: Counted::default() };
        for family in OF_NODE {
            let mut to = describe(&mut encoder, family)?;
            room.family(&mut to, family, &self.node, None, &self.node.name)?;
        }
        let labels: Vec<OfProcess> =
            self.node.processes.iter().map(|process| OfProcess::new(process)).collect();
        for family in OF_PROCESSES {
            let mut to = describe(&mut encoder, family)?;
            for (process, labels) in self.node.processes.iter().zip(&labels) {
                room.family(&mut to, family, process, Some(labels), &self.node.name)?;
            }
        }
        // As of this text itself, so that it is its last number.
        let (name, help) = ("heaptap_series_dropped", "Series that --max-series left no room for");
        let mut to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let labels = All { process: None, node: &self.node.name, own: &[] };
        to.encode_family(&labels)?.encode_gauge(&(room.counted.dropped as u64))?;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = room.counted;
        Ok(())
    }
}

fn describe<'e, Of>(
    encoder: &'e mut DescriptorEncoder<'_>,
    family: &'e Family<Of>,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    static UNITS: [TextUnit; 2] = [TextUnit::Bytes, TextUnit::Seconds];
    static OTHERS: std::sync::LazyLock<[TextUnit; 2]> = std::sync::LazyLock::new(|| {
        [Unit::Percent, Unit::Ratio].map(|unit| TextUnit::Other(unit.word().to_owned()))
    });
    let unit = family.unit.map(|unit| match unit {
        Unit::Bytes => &UNITS[0],
        Unit::Seconds => &UNITS[1],
        Unit::Percent => &OTHERS[0],
        Unit::Ratio => &OTHERS[1],
    });
    let kind = match family.numbers {
        Numbers::Gauge(_) => MetricType::Gauge,
        Numbers::Counter(_) => MetricType::Counter,
        Numbers::Histogram(_) => MetricType::Histogram,
    };
    encoder.encode_descriptor(family.name, family.help, unit, kind)
}

/// How many series there may be and are.
struct Room {
    most: usize,
    counted: Counted,
}

impl Room {
    fn take(&mut self, series: usize) -> bool {
        let there_is = self.counted.series + series <= self.most;
        let to = if there_is { &mut self.counted.series } else { &mut self.counted.dropped };
        *to += series;
        there_is
    }

    /// Writes what a family says of one thing.
    fn family<Of>(
        &mut self,
        to: &mut MetricEncoder<'_>,
        family: &Family<Of>,
        of: &Of,
        process: Option<&OfProcess>,
        node: &str,
    ) -> fmt::Result {
        let mut done = Ok(());
        match family.numbers {
            Numbers::Gauge(read) => read(of, &mut |own, number| {
                if done.is_ok() && self.take(1) {
                    let labels = All { process, node, own };
                    done = gauge(to, &labels, number);
                }
            }),
            Numbers::Counter(read) => read(of, &mut |own, number| {
                if done.is_ok() && self.take(1) {
                    let labels = All { process, node, own };
                    done = counter(to, &labels, number);
                }
            }),
            Numbers::Histogram(read) => {
                if let Some(Histogram { sum, count, buckets }) = read(of)
                    && self.take(buckets.len() + 2)
                {
                    let labels = All { process, node, own: &[] };
                    let mut to = to.encode_family(&labels)?;
                    done = to.encode_histogram::<NoLabelSet>(sum, count, &buckets, None);
                }
            }
        }
        done
    }
}

fn gauge(to: &mut MetricEncoder<'_>, labels: &All<'_>, number: Number) -> fmt::Result {
    let mut to = to.encode_family(labels)?;
    match number {
        Number::Int(value) => to.encode_gauge(&value),
        Number::Float(value) => to.encode_gauge(&value),
    }
}

fn counter(to: &mut MetricEncoder<'_>, labels: &All<'_>, number: Number) -> fmt::Result {
    let mut to = to.encode_family(labels)?;
    match number {
        Number::Int(value) => to.encode_counter::<NoLabelSet, u64, f64>(&value, None),
        Number::Float(value) => to.encode_counter::<NoLabelSet, f64, f64>(&value, None),
    }
}
