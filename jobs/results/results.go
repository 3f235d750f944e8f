package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// SchemaVersion is the version of results.json that this package writes and the newest it reads.
const SchemaVersion = 1

// Names of metrics, in results.json, metrics.csv and the job file's downstream.metric.
const (
	Accuracy = "accuracy"
	F1       = "f1"       // of class 1; binary labels only
	F1Macro  = "f1-macro" // unweighted mean of all classes' F1
	AUC      = "auc"      // area under the ROC curve; with more than two classes the mean over them, each against the rest
	LogLoss  = "log-loss" // mean negative log-likelihood, natural logarithm; smaller is better
)

// MetricNames lists the metrics in the order in which they are shown.
func MetricNames() []string { return []string{Accuracy, F1, F1Macro, AUC, LogLoss} }

// Rows that metrics are measured on.
const (
	OnTest  = "test"  // held-out rows
	OnTrain = "train" // the training rows themselves, with downstream.test 0
	OnFolds = "folds" // every row once, by the model of the folds that it is not in
)

// Summary is results.json.
type Summary struct {
	SchemaVersion int               `json:"schemaVersion" jsonschema_description:"Version of this file's format."`
	Job           Job               `json:"job" jsonschema_description:"The job that was run."`
	Table         *Table            `json:"table,omitempty" jsonschema_description:"What was made of the table's columns."`
	Verdict       Verdict           `json:"verdict" jsonschema_description:"Which layer is best."`
	Layers        []Layer           `json:"layers" jsonschema_description:"One entry per layer, in the order of the network."`
	Baselines     Baselines         `json:"baselines" jsonschema_description:"What the layers have to beat."`
	Pipeline      *Pipeline         `json:"pipeline,omitempty" jsonschema_description:"The file that goes from an image and a table row to a prediction."`
	Plan          Plan              `json:"plan" jsonschema_description:"How the job was run, with estimates and measurements."`
	Counters      Counters          `json:"counters" jsonschema_description:"Records read, matched and set aside."`
	Versions      Versions          `json:"versions" jsonschema_description:"What ran."`
	Digests       map[string]string `json:"digests,omitempty" jsonschema_description:"SHA-256 in hex of inputs and outputs by name: job, table (of several files: of their digests in hex, a line each), network (graph and weights) and weights (of the file; absent with random ones), of several CNNs each with a dot and the CNN's name, models/LAYER.json and the other files of the output but this one, features and quarantine."`
	Warnings      []string          `json:"warnings,omitempty" jsonschema_description:"What the reader of the results should know."`
	Started       string            `json:"started,omitempty" jsonschema_description:"Start, RFC 3339."`
	Seconds       float64           `json:"seconds" jsonschema_description:"Duration of the whole job, until this file is written."`
}

// Job names the job and what decides its results.
type Job struct {
	Name       string    `json:"name" jsonschema_description:"Name in the job file."`
	Seed       int64     `json:"seed" jsonschema_description:"Seed of every random choice."`
	Model      string    `json:"model" jsonschema_description:"The CNN; of several their names."`
	Weights    string    `json:"weights,omitempty" jsonschema_description:"Its weights."`
	Pool       string    `json:"pool,omitempty" jsonschema_description:"How a volume becomes a vector."`
	Preprocess string    `json:"preprocess,omitempty" jsonschema_description:"How images became the network's input, in words."`
	Networks   []Network `json:"networks,omitempty" jsonschema_description:"Each of several CNNs, in the order of the job file; weights, pool and preprocess above are then absent."`
	Kind       string    `json:"kind,omitempty" jsonschema_description:"Kind of the trained models."`
	Test       float64   `json:"test,omitempty" jsonschema_description:"Share of the rows held out; absent: none. Which rows follows from it, the seed and the rows' keys."`
	Classes    []string  `json:"classes" jsonschema_description:"Class names; a model's class i is the i-th."`
	Features   []string  `json:"features" jsonschema_description:"The models' structured inputs in their order: the table's feature columns, categorical ones as one column for each category."`
	Output     string    `json:"output,omitempty" jsonschema_description:"Folder of the results."`
}

// Network is one of several CNNs.
type Network struct {
	Name       string `json:"name" jsonschema_description:"What its layers' names begin with, before a dot."`
	Model      string `json:"model" jsonschema_description:"The CNN."`
	Weights    string `json:"weights,omitempty" jsonschema_description:"Its weights."`
	Pool       string `json:"pool" jsonschema_description:"How a volume becomes a vector."`
	Preprocess string `json:"preprocess" jsonschema_description:"How images became the network's input, in words."`
}

// Table says how the table's columns became the models' inputs.
type Table struct {
	Format      string        `json:"format" jsonschema:"enum=csv,enum=csv.gz,enum=parquet,enum=avro" jsonschema_description:"Format of the table's files."`
	Files       int           `json:"files" jsonschema_description:"Number of files."`
	Missing     string        `json:"missing" jsonschema:"enum=bad,enum=mean,enum=drop" jsonschema_description:"What a missing value did to its row (table.missing)."`
	Filled      []Filled      `json:"filled,omitempty" jsonschema_description:"Numeric columns in which missing values were filled."`
	Categorical []Categorical `json:"categorical,omitempty" jsonschema_description:"Columns that became one column of 0 and 1 for each category."`
}

// Filled is a numeric column in which values were missing.
type Filled struct {
	Column string  `json:"column" jsonschema_description:"Name of the column."`
	Rows   int64   `json:"rows" jsonschema_description:"Rows whose value was missing, training and held-out ones."`
	Value  float32 `json:"value" jsonschema_description:"What they were filled with: the mean over the table's training rows."`
}

// Categorical is a column that names categories. Its inputs stand side by side: COLUMN=CATEGORY for each
// category in the order given, then COLUMN=other, then COLUMN=missing if there is one.
type Categorical struct {
	Column     string   `json:"column" jsonschema_description:"Name of the column."`
	Categories []string `json:"categories" jsonschema_description:"Categories with an input of their own: the most frequent ones of the training rows, sorted by name."`
	Other      int64    `json:"other" jsonschema_description:"Rows with any other category; they share one input."`
	Missing    int64    `json:"missing,omitempty" jsonschema_description:"Rows without a category."`
	Absent     bool     `json:"absent,omitempty" jsonschema_description:"Missing is a category of its own, with the last input; else such rows count as other."`
}

// Metric is a measured value with its 95 % interval.
type Metric struct {
	Value float64 `json:"value" jsonschema_description:"Point estimate."`
	Low   float64 `json:"low" jsonschema_description:"Lower end of the 95 % interval."`
	High  float64 `json:"high" jsonschema_description:"Upper end of the 95 % interval."`
}

// Metrics maps metric names to values. A metric that is undefined (the AUC of a test set with one class)
// is left out.
type Metrics map[string]Metric

// Verdict answers the question that the job asked.
type Verdict struct {
	BestLayer      string  `json:"bestLayer" jsonschema_description:"Layer with the best metric; with tie, the first among those that cannot be told apart."`
	Tie            bool    `json:"tie" jsonschema_description:"The best layer cannot be told from the runner-up, or no layer helps."`
	Metric         string  `json:"metric" jsonschema_description:"Metric that decides."`
	Sentence       string  `json:"sentence" jsonschema_description:"The verdict in words."`
	Helps          bool    `json:"helps" jsonschema_description:"The best layer is better than structured features alone."`
	On             string  `json:"on" jsonschema:"enum=test,enum=train,enum=folds" jsonschema_description:"Rows that the metrics were measured on."`
	RunnerUp       string  `json:"runnerUp,omitempty" jsonschema_description:"Second best layer; absent with one layer."`
	Margin         *Metric `json:"margin,omitempty" jsonschema_description:"Best layer against runner-up, paired; positive is better whatever the metric. Absent with one layer."`
	OverStructured *Metric `json:"overStructured,omitempty" jsonschema_description:"Best layer against structured features alone, paired; positive is better."`
}

// Layer is what is known about one layer.
type Layer struct {
	Name    string  `json:"name" jsonschema_description:"Name of the layer; with several CNNs NAME.LAYER."`
	CNN     string  `json:"cnn,omitempty" jsonschema_description:"Name of the layer's CNN; absent with one."`
	Folder  string  `json:"folder" jsonschema_description:"The name as it stands in paths."`
	Tensor  string  `json:"tensor,omitempty" jsonschema_description:"Name of the ONNX tensor."`
	Shape   []int   `json:"shape,omitempty" jsonschema_description:"Shape of the layer's output for one image, before pooling."`
	Dim     int     `json:"dim" jsonschema_description:"Length of the layer's vector."`
	Metrics Metrics `json:"metrics" jsonschema_description:"Metrics by name."`
	Chosen  Chosen  `json:"chosen" jsonschema_description:"Hyper-parameters of the kept model and how its training ended."`
	Seconds float64 `json:"seconds" jsonschema_description:"Training time; layers trained in the same scans share it."`
	Bytes   int64   `json:"bytes" jsonschema_description:"Bytes of the layer's stored vectors."`
}

// Chosen describes a trained model.
type Chosen struct {
	Reg        float64 `json:"reg" jsonschema_description:"Strength of the penalty."`
	ElasticNet float64 `json:"elasticNet" jsonschema_description:"Share of the L1 penalty."`
	Iterations int     `json:"iterations" jsonschema_description:"Iterations of the optimizer."`
	Converged  bool    `json:"converged" jsonschema_description:"Training stopped because it no longer improved."`
	Objective  float64 `json:"objective" jsonschema_description:"Value of the objective at the end."`
	NonZero    int     `json:"nonZero" jsonschema_description:"Weights that are not 0, without the intercept."`
}

// Pipeline describes models/best-pipeline.onnx.
type Pipeline struct {
	File       string     `json:"file" jsonschema_description:"The ONNX file."`
	Weights    string     `json:"weights,omitempty" jsonschema_description:"File beside it that holds its weights; absent as a rule: an ONNX file can hold 2 GiB."`
	Layer      string     `json:"layer" jsonschema_description:"The layer that it uses: verdict.bestLayer."`
	Outputs    []string   `json:"outputs" jsonschema_description:"Names of its outputs: probability and label; for a support vector classifier score and label."`
	Multiple   string     `json:"multiple,omitempty" jsonschema:"enum=mean,enum=max" jsonschema_description:"How the job made one vector of the images of a record that has several (images.multiple). The file takes one image: for such records its predictions are not the job's."`
	Preprocess Preprocess `json:"preprocess" jsonschema_description:"What its input image, and the features, are made of a picture with."`
}

// Preprocess says how a picture becomes a network's input: decoded to RGB, turned, resized, cropped; the
// steps from Channels on, which turn bytes into numbers, are part of a pipeline's graph.
type Preprocess struct {
	EXIF          string    `json:"exif" jsonschema:"enum=ignore,enum=apply" jsonschema_description:"Whether the EXIF orientation is applied."`
	Resize        int       `json:"resize,omitempty" jsonschema_description:"Length of the shorter side after resizing, in pixels; absent: no such step."`
	ResizeHeight  int       `json:"resizeHeight,omitempty" jsonschema_description:"Height after resizing whatever the aspect ratio, where it is not that of the crop."`
	ResizeWidth   int       `json:"resizeWidth,omitempty" jsonschema_description:"Width after resizing, with resizeHeight."`
	Stretch       bool      `json:"stretch,omitempty" jsonschema_description:"Resized to height x width, whatever the aspect ratio."`
	Exact         bool      `json:"exact,omitempty" jsonschema_description:"Only pictures of exactly height x width are taken; nothing is resized or cut."`
	Interpolation string    `json:"interpolation,omitempty" jsonschema_description:"Interpolation of the resize, antialiased, as PIL defines it."`
	Height        int       `json:"height" jsonschema_description:"Height of the centre crop."`
	Width         int       `json:"width" jsonschema_description:"Width of the centre crop."`
	FloorCrop     bool      `json:"floorCrop,omitempty" jsonschema_description:"Half a pixel of the crop's offset is rounded down, as Hugging Face's processors do, not as torchvision does."`
	Channels      string    `json:"channels" jsonschema:"enum=RGB,enum=BGR" jsonschema_description:"Order of the channels in the network's input; a pipeline takes RGB whatever it is."`
	Scale         float64   `json:"scale" jsonschema_description:"Factor for the bytes 0 to 255, before mean and std."`
	Mean          []float64 `json:"mean,omitempty" jsonschema_description:"Subtracted from each channel, in the order of channels; absent: 0."`
	Std           []float64 `json:"std,omitempty" jsonschema_description:"Divides each channel, in the order of channels; absent: 1."`
}

// Baselines are the two models that use no image.
type Baselines struct {
	Majority   Baseline `json:"majority" jsonschema_description:"Always the most frequent class, with its frequency as probability."`
	Structured Baseline `json:"structured" jsonschema_description:"The same model on structured features alone."`
}

// Baseline is a model without image features.
type Baseline struct {
	Dim     int     `json:"dim" jsonschema_description:"Number of inputs."`
	Metrics Metrics `json:"metrics" jsonschema_description:"Metrics by name."`
	Class   string  `json:"class,omitempty" jsonschema_description:"The class that is always given, for the majority baseline."`
	Chosen  *Chosen `json:"chosen,omitempty" jsonschema_description:"Hyper-parameters, for the structured baseline."`
	Seconds float64 `json:"seconds,omitempty" jsonschema_description:"Training time."`
}

// Plan is the plan that ran.
type Plan struct {
	Inference  string            `json:"inference" jsonschema_description:"lazy, eager, staged or fused."`
	Placement  string            `json:"placement" jsonschema_description:"before-join or after-join."`
	Join       string            `json:"join" jsonschema_description:"broadcast or shuffle."`
	Storage    string            `json:"storage" jsonschema_description:"raw or snappy."`
	CPU        int               `json:"cpu" jsonschema_description:"Tasks at a time per worker."`
	Partitions int               `json:"partitions" jsonschema_description:"Number of partitions."`
	Batch      int               `json:"batch" jsonschema_description:"Images per CNN call."`
	Networks   string            `json:"networks,omitempty" jsonschema:"enum=together,enum=apart" jsonschema_description:"How several CNNs shared the images; absent with one."`
	From       map[string]string `json:"from,omitempty" jsonschema_description:"Where each knob's value came from: set, file, default or optimizer."`
	Estimate   *Cost             `json:"estimate,omitempty" jsonschema_description:"What the plan was expected to cost."`
	Actual     Cost              `json:"actual" jsonschema_description:"What it cost."`
	Machines   *Machines         `json:"machines,omitempty" jsonschema_description:"What the job's last run had; absent where that is not known."`
	Phases     []Phase           `json:"phases,omitempty" jsonschema_description:"The phases in the order in which they were started."`
	Around     []Phase           `json:"around,omitempty" jsonschema_description:"What the job's last run has done before its first phase (start: inputs are read, the plan is made, networks are made ready) and behind its last one (results: models and the other files are written, all but this one)."`
	Corrected  []Correction      `json:"corrected,omitempty" jsonschema_description:"What was decided while the job ran, because an estimate was off by two or memory was short; a hundred at most."`
}

// Machines are what a run had.
type Machines struct {
	Workers int  `json:"workers" jsonschema_description:"Number of workers at the end of the run; 1 of a job in one process."`
	Cores   int  `json:"cores" jsonschema_description:"Cores of the process, or slots of the worker that has the fewest."`
	Tracker bool `json:"tracker" jsonschema_description:"They were workers of a tracker; else one process ran the job."`
}

// Correction is something that was decided while the job ran.
type Correction struct {
	Phase    string  `json:"phase" jsonschema_description:"Phase in which it was decided."`
	Why      string  `json:"why" jsonschema_description:"What was found out."`
	What     string  `json:"what" jsonschema_description:"What was decided."`
	Expected float64 `json:"expected,omitempty" jsonschema_description:"Units a second that the estimate was made with."`
	Measured float64 `json:"measured,omitempty" jsonschema_description:"Units a second that were measured."`
	Unit     string  `json:"unit,omitempty" jsonschema_description:"What is counted."`
}

// Phase is one phase of the plan.
type Phase struct {
	Name     string `json:"name" jsonschema_description:"Name of the phase."`
	Tasks    int    `json:"tasks" jsonschema_description:"Number of tasks."`
	Attempts int    `json:"attempts,omitempty" jsonschema_description:"Attempts that were started; more than tasks after failures."`
	Estimate *Cost  `json:"estimate,omitempty" jsonschema_description:"What the phase was expected to cost."`
	Actual   Cost   `json:"actual" jsonschema_description:"What it cost."`
}

// Cost is an estimate or a measurement; what is not known is 0 and left out.
type Cost struct {
	Seconds         float64 `json:"seconds,omitempty" jsonschema_description:"Wall-clock time."`
	CoreSeconds     float64 `json:"coreSeconds,omitempty" jsonschema_description:"Processor time of all cores; measured only where the job ran in one process."`
	Records         int64   `json:"records,omitempty" jsonschema_description:"Records read."`
	Images          int64   `json:"images,omitempty" jsonschema_description:"Images that a CNN ran over; each counts once, however many networks and phases it passes."`
	ImagesPerSecond float64 `json:"imagesPerSecond,omitempty" jsonschema_description:"Images per second."`
	BytesRead       int64   `json:"bytesRead,omitempty" jsonschema_description:"Bytes read."`
	BytesWritten    int64   `json:"bytesWritten,omitempty" jsonschema_description:"Bytes written."`
	PeakMemory      int64   `json:"peakMemory,omitempty" jsonschema_description:"Largest resident memory of a worker while the job ran there, in bytes; pages of mapped files count, which the system takes back where memory is short. Left out if it is not known."`
}

// Counters count records. rows = matched + leftOut + dropped + the bad ones among the rows.
type Counters struct {
	Rows    int64            `json:"rows" jsonschema_description:"Rows of the table."`
	Images  int64            `json:"images" jsonschema_description:"Images found."`
	Matched int64            `json:"matched" jsonschema_description:"Records with both sides, used for training or test."`
	Bad     int64            `json:"bad" jsonschema_description:"Records set aside, rows and images."`
	Train   int64            `json:"train" jsonschema_description:"Records trained on."`
	Test    int64            `json:"test" jsonschema_description:"Records held out."`
	LeftOut int64            `json:"leftOut,omitempty" jsonschema_description:"Rows without an image that are not bad (images.required: false)."`
	Dropped int64            `json:"dropped,omitempty" jsonschema_description:"Rows left out because a value is missing (table.missing: drop)."`
	Causes  map[string]int64 `json:"causes,omitempty" jsonschema_description:"Bad records by cause."`
	Other   map[string]int64 `json:"other,omitempty" jsonschema_description:"Further counters by name, such as images with an EXIF orientation."`
}

// Versions says what ran.
type Versions struct {
	VistaMR  string `json:"vistaMr" jsonschema_description:"Version of this program."`
	Go       string `json:"go" jsonschema_description:"Go version it was built with."`
	Platform string `json:"platform" jsonschema_description:"Operating system and architecture."`
	ORT      string `json:"ort,omitempty" jsonschema_description:"ONNX Runtime version."`
	Decoder  string `json:"decoder,omitempty" jsonschema_description:"JPEG decoder that ran."`
}

// Marshal writes a summary as results.json holds it. It refuses one that breaks the package's
// invariant, which would be a defect of the job that made it.
func Marshal(s *Summary) ([]byte, error) {
	c := *s
	c.SchemaVersion = SchemaVersion
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(&c); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return b.Bytes(), nil
}

// Parse reads results.json. Keys that it does not know are left alone, so that results of a later
// program with the same schema version can be read.
func Parse(data []byte) (*Summary, error) {
	var s Summary
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("results: not a results.json: %w", err)
	}
	if s.SchemaVersion < 1 || s.SchemaVersion > SchemaVersion {
		return nil, fmt.Errorf("results: schema version %d; this program reads versions 1 to %d", s.SchemaVersion, SchemaVersion)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return &s, nil
}

func (s *Summary) check() error {
	seen := map[string]bool{}
	for i, l := range s.Layers {
		if l.Name == "" || seen[l.Name] {
			return fmt.Errorf("layer %d is named %q, which is empty or used before", i, l.Name)
		}
		if l.Folder != Folder(l.Name) {
			return fmt.Errorf("layer %q has the folder %q, not %q", l.Name, l.Folder, Folder(l.Name))
		}
		seen[l.Name] = true
		if err := l.Metrics.check(); err != nil {
			return fmt.Errorf("layer %q: %w", l.Name, err)
		}
	}
	if !seen[s.Verdict.BestLayer] {
		return fmt.Errorf("the best layer %q is not among the layers", s.Verdict.BestLayer)
	}
	if r := s.Verdict.RunnerUp; r != "" && !seen[r] {
		return fmt.Errorf("the runner-up %q is not among the layers", r)
	}
	if !slices.Contains(MetricNames(), s.Verdict.Metric) {
		return fmt.Errorf("the verdict's metric is %q", s.Verdict.Metric)
	}
	for name, b := range map[string]Baseline{"majority": s.Baselines.Majority, "structured": s.Baselines.Structured} {
		if err := b.Metrics.check(); err != nil {
			return fmt.Errorf("baseline %s: %w", name, err)
		}
	}
	return nil
}

func (m Metrics) check() error {
	for name, v := range m {
		for _, f := range []float64{v.Value, v.Low, v.High} {
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return fmt.Errorf("metric %s is not finite; an undefined metric is left out", name)
			}
		}
	}
	return nil
}

// layer returns the layer with a name, or nil.
func (s *Summary) layer(name string) *Layer {
	for i := range s.Layers {
		if s.Layers[i].Name == name {
			return &s.Layers[i]
		}
	}
	return nil
}
