// Package lr trains linear models on rows that lie in partitions: logistic regression, binary
// and multinomial, and the linear support vector classifier, with elastic-net penalty, as
// Spark MLlib defines them.
//
// Invariant: a trained model depends on the rows and how they are cut into partitions, and on
// nothing else: not on which partition's sum arrives first, how sums were grouped on the way,
// or how many models were trained in the same scans. All that is added up is integer.
//
// How a model is trained, in rounds over partitions (package jobs/train does it on a cluster,
// tests in memory):
//  1. Extent: the largest absolute value of each column, rows by group and class.
//  2. Moments: sums and squares of each column, in fixed-point numbers scaled by the extent.
//  3. NewFit makes a step machine of each model. Point is where it wants to be evaluated; Scan
//     evaluates any number of models' points in one pass over a partition's rows; the Partials
//     of all partitions are merged; Observe moves the machine on; until Done.
//
// Objective (the contract's section 4): the mean log-loss over training rows plus
// reg * (elasticNet * |v|_1 + (1 - elasticNet)/2 * |v|_2^2), the intercept free. The optimizer
// works on v_j = w_j * deviation_j over centred columns whether the penalty does (Standardize)
// or acts on raw weights; centring is virtual, by way of the intercept. Constant columns get
// weight 0. Reported weights are those of raw columns.
//
// Arithmetic: rows and weights are float32 and a block of blockRows rows is summed in float32
// with a fixed order; blocks are added as 64-bit integers scaled by a power of two for each
// column, so that no sum can overflow and addition is associative. The optimizer is float64.
//
// The package knows no files, no tasks and no cluster. Subpackage kernel has the inner loops,
// optim the optimizer, metrics what is measured afterwards.
package lr
