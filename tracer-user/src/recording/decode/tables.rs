//! Things that a segment says once, and how a snapshot was measured.
//!
//! In: contents. Out: one thing, with numbers of others that are known.

use std::time::{Duration, SystemTime};

use super::{DEEPEST, Decoder, Fault, Node, Series, known};
use crate::address::VAddr;
use crate::profile::{
    Binary, BinaryId, CounterValue, Frame, Label, LabelValue, Location, LocationId, Meta, Name,
    Period, Process, ProcessId, Sample, ValueType, Workload,
};
use crate::recording::codes;
use crate::recording::wire::Get;

impl Decoder {
    fn text(&self, get: &mut Get) -> Result<String, Fault> {
        Ok(self.names.text(self.name(get)?).to_owned())
    }

    fn some_text(&mut self, get: &mut Get) -> Result<Option<String>, Fault> {
        let Some(number) = get.option()? else { return Ok(None) };
        let text = self.names.text(self.known_name(number)?).to_owned();
        self.room.take(text.len())?;
        Ok(Some(text))
    }

    fn name(&self, get: &mut Get) -> Result<Name, Fault> {
        self.known_name(get.small()?)
    }

    fn known_name(&self, number: u32) -> Result<Name, Fault> {
        match (number as usize) < self.names.len() {
            true => Ok(Name(number)),
            false => Err("there is no such text".into()),
        }
    }

    pub(super) fn binary(&mut self, get: &mut Get) -> Result<Binary, Fault> {
        let (path, build_id) = (self.text(get)?, self.text(get)?);
        self.room.take(path.len() + build_id.len())?;
        Ok(Binary {
            path,
            build_id,
            text_start: VAddr(get.number()?),
            text_end: VAddr(get.number()?),
            text_offset: get.number()?,
        })
    }

    pub(super) fn process(&mut self, get: &mut Get) -> Result<Process, Fault> {
        let (pid, start_ticks, comm) = (get.small()?, get.number()?, self.text(get)?);
        self.room.take(comm.len())?;
        Ok(Process {
            pid,
            start_ticks,
            comm,
            container: self.some_text(get)?,
            workload: Workload {
                container: self.some_text(get)?,
                pod: self.some_text(get)?,
                namespace: self.some_text(get)?,
                unit: self.some_text(get)?,
            },
            go_version: self.some_text(get)?,
            binary: BinaryId(known(get.small()?, self.binaries.len(), "there is no such file")?),
            processes: 1,
            cost: None,
        })
    }

    pub(super) fn location(&mut self, get: &mut Get) -> Result<Location, Fault> {
        let binary = get.option()?;
        let binary = binary
            .map(|id| known(id, self.binaries.len(), "there is no such file").map(BinaryId))
            .transpose()?;
        let address = VAddr(get.number()?);
        let count = get.count()?;
        if count == 0 {
            // Its frame is made with the profile.
            let raw = Some(codes::raw(get.small()?)?);
            self.room.take(size_of::<Location>())?;
            return match binary {
                Some(_) => Ok(Location { binary, address, frames: Vec::new(), raw }),
                None => Err("an address in no file".into()),
            };
        }
        self.room.take(size_of::<Location>() + count * size_of::<Frame>())?;
        let mut frames = Vec::with_capacity(count);
        for _ in 0..count {
            frames.push(Frame {
                function: self.name(get)?,
                file: self.name(get)?,
                line: get.small()?,
                start_line: get.small()?,
                kind: codes::frame(get.small()?)?,
            });
        }
        Ok(Location { binary, address, frames, raw: None })
    }

    fn known_location(&self, number: u32) -> Result<LocationId, Fault> {
        Ok(LocationId(known(number, self.locations.len(), "there is no such place")?))
    }

    pub(super) fn node(&mut self, get: &mut Get) -> Result<Node, Fault> {
        let back: u32 = get.small()?;
        let next = self.nodes.len() as u32;
        let parent = match back {
            0 => None,
            back => Some(next.checked_sub(back).ok_or("a stack before the first")?),
        };
        self.last_location = get.change(self.last_location)?;
        let location = u32::try_from(self.last_location).map_err(|_| "there is no such place")?;
        let location = self.known_location(location)?;
        let depth = parent.map_or(0, |parent| self.nodes[parent as usize].depth) + 1;
        match depth > DEEPEST {
            true => Err("a stack is too deep".into()),
            false => Ok(Node { parent, location, depth }),
        }
    }

    pub(super) fn one_series(&mut self, get: &mut Get) -> Result<Series, Fault> {
        let process = known(get.small()?, self.processes.len(), "there is no such process")?;
        let go_type = get.option()?.map(|name| self.known_name(name)).transpose()?;
        let leaf = get.option()?.map(|leaf| self.known_location(leaf)).transpose()?;
        let count = get.count()?;
        self.room.take(size_of::<Series>() + count * size_of::<Label>())?;
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self.name(get)?;
            let value = match get.flag()? {
                false => LabelValue::Number(get.number()?),
                true => LabelValue::Text(self.name(get)?),
            };
            labels.push(Label { key, value });
        }
        self.last_node = get.change(self.last_node)?;
        let node = self.last_node.checked_sub(1);
        let node = node
            .map(|node| u32::try_from(node).map_err(|_| "there is no such stack"))
            .transpose()?
            .map(|node| known(node, self.nodes.len(), "there is no such stack"))
            .transpose()?;
        let sample = Sample {
            process: ProcessId(process),
            stack: Vec::new(),
            values: Vec::new(),
            error: Vec::new(),
            go_type,
            leaf,
            labels,
            ages: None,
            iterations: None,
        };
        Ok(Series { sample, node })
    }

    pub(super) fn read_meta(&self, get: &mut Get) -> Result<Meta, Fault> {
        let mut room = self.room;
        let mut text = |get: &mut Get| {
            let name = self.name(get)?;
            room.take(100 + 2 * self.names.text(name).len())?;
            Ok::<_, Fault>(self.names.text(name).to_owned())
        };
        let source = codes::source(get.small()?)?;
        let method = get.option()?.map(|name| self.known_name(name)).transpose()?;
        let started = SystemTime::UNIX_EPOCH + Duration::from_nanos(get.number()?);
        let duration = Duration::from_nanos(get.number()?);
        let mut value_types = Vec::new();
        for _ in 0..get.count()? {
            value_types.push(self.value_type(get)?);
        }
        let default_value = get.small()?;
        if default_value >= value_types.len() {
            return Err("there is no such value".into());
        }
        let period = match get.flag()? {
            true => Some(Period { of: self.value_type(get)?, length: get.number()? }),
            false => None,
        };
        let mut counters = Vec::new();
        for _ in 0..get.count()? {
            counters.push(CounterValue {
                name: text(get)?.into(),
                help: text(get)?.into(),
                is_loss: get.flag()?,
                count: get.number()?,
            });
        }
        let (budget, in_windows) = (get.maybe()?, get.flag()?);
        let mut notes = Vec::new();
        for _ in 0..get.count()? {
            notes.push(text(get)?);
        }
        let method = method.map(|name| self.names.text(name).to_owned());
        Ok(Meta {
            source,
            method,
            started,
            duration,
            value_types,
            default_value,
            period,
            counters,
            budget,
            in_windows,
            notes,
        })
    }

    fn value_type(&self, get: &mut Get) -> Result<ValueType, Fault> {
        let (kind, unit) = (self.name(get)?, self.name(get)?);
        let of = ValueType::known(self.names.text(kind), self.names.text(unit));
        Ok(of.ok_or("it measures what this heaptap does not know")?)
    }
}
