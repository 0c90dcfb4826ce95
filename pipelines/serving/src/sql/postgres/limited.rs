//! A scan below which no limit is looked for.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};

/// Where a query needs no column, the library has a scan that only counts rows. It says that a limit may be passed on to what
/// is below it, where there is nothing, and so the limit would be lost. Above this one it stays.
#[derive(Debug)]
pub(super) struct Limited {
    scan: Arc<dyn ExecutionPlan>,
}

impl Limited {
    /// Such a scan with this one above it; any other one as it is.
    pub(super) fn above(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        if scan.children().is_empty() && scan.supports_limit_pushdown() {
            return Arc::new(Self { scan });
        }
        scan
    }
}

impl DisplayAs for Limited {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limited")
    }
}

impl ExecutionPlan for Limited {
    fn name(&self) -> &'static str {
        "Limited"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// Numbers of rows are not worth a thread.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = children.pop().unwrap_or_else(|| Arc::clone(&self.scan));
        Ok(Arc::new(Self { scan }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.scan.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// As many rows as the scan has: `count(*)` is answered by that.
    fn statistics_from_inputs(
        &self,
        scan: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(scan.first().map_or_else(unknown, Arc::clone))
    }
}
