//! Tables for people, and one line of JSON for each ratio that the project holds itself to.

use serde_json::json;

use crate::harness::Direction;

/// As many bytes as the loopback interface carries in one segment, less a frame's header and a little. 64 KiB are two
/// segments there, of which the second is nearly empty, and whether it is acknowledged by itself differs between sockets
/// of one run, by more than a frame costs.
pub(crate) const ONE_SEGMENT: usize = 65_400;

/// The medians of one cell of a table.
pub(crate) struct Cell {
    pub(crate) direction: Direction,
    pub(crate) sessions: usize,
    /// Payload bytes for each session
    pub(crate) size: usize,
    pub(crate) medians: Vec<Median>,
}

/// What one relay took.
pub(crate) struct Median {
    pub(crate) name: &'static str,
    /// Microseconds for each session and step
    pub(crate) us: f64,
    pub(crate) switches_per_gb: f64,
}

/// All cells.
#[derive(Default)]
pub(crate) struct Report(Vec<Cell>);

/// A ratio beside its bounds.
pub(crate) struct Row {
    pub(crate) row: &'static str,
    pub(crate) what: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) value: f64,
    /// None for what is only shown beside the others
    pub(crate) hold: Option<f64>,
    pub(crate) stretch: Option<f64>,
}

impl Row {
    pub(crate) fn print(&self) {
        let Self { row, what, engine, value, hold, stretch } = self;
        let verdict = match stretch {
            Some(stretch) if value <= stretch => "stretch",
            _ if hold.is_none_or(|hold| *value <= hold) => "held",
            _ => "NOT HELD",
        };
        match hold {
            Some(hold) => println!("row {row}, {engine}: {what}: {value:.3}, hold {hold}: {verdict}"),
            None => println!("row {row}, {engine}: {what}: {value:.3}"),
        }
        let line = json!({
            "row": row, "what": what, "engine": engine, "value": value, "hold": hold, "stretch": stretch,
        });
        println!("JSON {line}");
    }
}

impl Report {
    pub(crate) fn add(&mut self, cell: Cell) {
        self.0.push(cell);
    }

    pub(crate) fn print(&self) {
        for table in self.0.chunk_by(|a, b| (a.direction, a.sessions) == (b.direction, b.sessions)) {
            let Some(first) = table.first() else { continue };
            let way = match first.direction {
                Direction::ToTenant => "compute to tenant, framed",
                Direction::ToCompute => "tenant to compute, one masked frame",
            };
            println!("{way}; {} ready sessions; median us for each session and step", first.sessions);
            print!("{:16}", "bytes");
            table.iter().for_each(|cell| print!("{:>9}", cell.size));
            println!();
            for (index, median) in first.medians.iter().enumerate() {
                print!("{:16}", median.name);
                table.iter().for_each(|cell| print!("{:>9.2}", cell.medians[index].us));
                println!();
            }
            println!();
        }
        self.rows().iter().for_each(Row::print);
    }

    fn median(&self, direction: Direction, sessions: usize, size: usize, name: &str) -> Option<&Median> {
        let cell =
            self.0.iter().find(|c| (c.direction, c.sessions, c.size) == (direction, sessions, size))?;
        cell.medians.iter().find(|median| median.name == name)
    }

    fn rows(&self) -> Vec<Row> {
        let (down, up) = (Direction::ToTenant, Direction::ToCompute);
        let mut rows = Vec::new();
        for (engine, raw, spliced) in
            [("epoll", "epoll raw", "epoll splice"), ("io_uring", "io_uring raw", "io_uring splice")]
        {
            let mut ratio = |row, what, direction, size, raw, hold, stretch| {
                let ours = self.median(direction, 1, size, engine);
                if let (Some(ours), Some(raw)) = (ours, self.median(direction, 1, size, raw)) {
                    rows.push(Row { row, what, engine, value: ours.us / raw.us, hold, stretch });
                }
            };
            // The same calls in the same order, so that the difference is framing and all that a session does. What an
            // engine adds to bare calls is shown beside it.
            ratio(
                "4",
                "65,400 bytes framed against the same engine's raw relay",
                down,
                ONE_SEGMENT,
                raw,
                Some(1.05),
                Some(1.02),
            );
            ratio(
                "5",
                "16 KiB masked against the same engine's raw relay",
                up,
                16_384,
                raw,
                Some(1.25),
                Some(1.15),
            );
            ratio("6", "8 bytes masked against the same engine's raw relay", up, 8, raw, Some(1.05), None);
            let (relay, calls) = ("raw relay", "recv+send");
            ratio("4b", "64 KiB framed against the same engine's raw relay", down, 65_536, raw, None, None);
            ratio(
                "4b",
                "64 KiB framed against epoll, recv and send by hand",
                down,
                65_536,
                relay,
                None,
                None,
            );
            ratio("5b", "16 KiB masked against epoll, recv and send by hand", up, 16_384, relay, None, None);
            ratio("5b", "16 KiB masked against recv and send alone", up, 16_384, calls, None, None);
            ratio("6b", "8 bytes masked against epoll, recv and send by hand", up, 8, relay, None, None);
            ratio("6b", "8 bytes masked against recv and send alone", up, 8, calls, None, None);
            if let Some(median) = self.median(down, 1, 262_144, spliced) {
                let what = "context switches per GB, steps of 256 KiB";
                rows.push(Row {
                    row: "20",
                    what,
                    engine,
                    value: median.switches_per_gb,
                    hold: Some(6_000.0),
                    stretch: None,
                });
            }
        }
        for (size, what) in [
            (64, "32 ready, 64 bytes, against epoll"),
            (1_024, "32 ready, 1 KiB, against epoll"),
            (4_096, "32 ready, 4 KiB, against epoll"),
        ] {
            let engines = (self.median(down, 32, size, "io_uring"), self.median(down, 32, size, "epoll"));
            if let (Some(uring), Some(epoll)) = engines {
                let value = uring.us / epoll.us;
                rows.push(Row {
                    row: "11",
                    what,
                    engine: "io_uring",
                    value,
                    hold: Some(0.95),
                    stretch: Some(0.88),
                });
            }
        }
        rows
    }
}
