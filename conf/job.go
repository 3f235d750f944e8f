package conf

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// APIVersion is the only value of the job file's apiVersion key.
const APIVersion = "vista-mr/v1"

// Job is one job file with its defaults filled in. The tags are the definition of the format: the
// JSON Schema and from it the validation are generated from them.
type Job struct {
	APIVersion string     `yaml:"apiVersion" json:"apiVersion" jsonschema:"required,enum=vista-mr/v1" jsonschema_description:"Version of this file format."`
	Name       string     `yaml:"name" json:"name" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$,maxLength=63" jsonschema_extras:"patternErrorMessage=must start with a letter or digit and hold only letters and digits and . _ -" jsonschema_description:"Name of the job; letters, digits, dot, underscore and dash."`
	Seed       int64      `yaml:"seed" json:"seed" jsonschema:"minimum=0" jsonschema_description:"Every random choice (split, folds, random weights) comes from here. The same seed gives the same results."`
	Table      Table      `yaml:"table" json:"table" jsonschema:"required" jsonschema_description:"The structured side: one row per record."`
	Images     Images     `yaml:"images" json:"images" jsonschema:"required" jsonschema_description:"The image side: one image per record."`
	CNN        CNNs       `yaml:"cnn" json:"cnn" jsonschema:"required" jsonschema_description:"The network whose layers are compared, or a list of networks."`
	Downstream Downstream `yaml:"downstream" json:"downstream" jsonschema_description:"The model that is trained on table features and each layer's vectors."`
	Plan       Plan       `yaml:"plan" json:"plan" jsonschema_description:"How the job runs. What is not set is decided by the optimizer."`
	Limits     Limits     `yaml:"limits" json:"limits" jsonschema_description:"What the job may use and put up with."`
	Features   Features   `yaml:"features" json:"features" jsonschema_description:"How feature files are written."`
	Keep       Keep       `yaml:"keep" json:"keep" jsonschema_description:"What stays in the output besides results and models."`
	Reuse      URI        `yaml:"reuse" json:"reuse" jsonschema_description:"URI of a feature store that jobs share; empty: none."`
	Output     URI        `yaml:"output" json:"output" jsonschema:"required,minLength=1" jsonschema_description:"Folder that receives results, models and logs. It must be empty or hold this job's own unfinished run."`

	origins []Origin
}

// Table says where the structured records are and what their columns mean.
type Table struct {
	URI           URI      `yaml:"uri" json:"uri" jsonschema:"required,minLength=1" jsonschema_description:"File or folder of the table: CSV (also gzipped), Parquet or Avro."`
	Key           string   `yaml:"key" json:"key" jsonschema:"required,minLength=1" jsonschema_description:"Column that names the record. It is matched with the image's key."`
	Label         string   `yaml:"label" json:"label" jsonschema:"required,minLength=1" jsonschema_description:"Column with the class: 0 and 1, or any finite set of class names."`
	Features      []string `yaml:"features" json:"features" jsonschema:"uniqueItems=true" jsonschema_description:"Columns to learn from; empty: every other numeric column, and those of categorical."`
	Delimiter     string   `yaml:"delimiter" json:"delimiter" jsonschema:"pattern=^(auto|tab|[\\,;:|])$,example=auto,example=tab" jsonschema_extras:"patternErrorMessage=must be auto or tab or a comma or semicolon or colon or bar" jsonschema_description:"What separates the cells of a CSV file: one character, tab, or auto (found in the first line)."`
	Header        bool     `yaml:"header" json:"header" jsonschema_description:"false: the CSV file has no line with names; its columns are called c1, c2 and so on."`
	Missing       string   `yaml:"missing" json:"missing" jsonschema:"enum=bad,enum=mean,enum=drop" jsonschema_description:"What an empty cell in a feature column does to its row: bad (set aside as a bad record), mean (filled with the column's mean over training rows), drop (left out and counted)."`
	Categorical   []string `yaml:"categorical" json:"categorical" jsonschema:"uniqueItems=true" jsonschema_description:"Feature columns that name categories: each category becomes a column of 0 and 1."`
	MaxCategories int      `yaml:"maxCategories" json:"maxCategories" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Categories that get a column of their own, the most frequent ones; the rest share one."`
}

// Images says where the images are.
type Images struct {
	URI      URI         `yaml:"uri" json:"uri" jsonschema:"required,minLength=1" jsonschema_description:"Folder of images, or tar (WebDataset), Avro or Parquet files with images; may be a pattern with * ? {000..127} or {a,b}; with column: what relative paths start from."`
	Required bool        `yaml:"required" json:"required" jsonschema_description:"false: rows without an image are left out instead of being bad records."`
	Key      string      `yaml:"key" json:"key" jsonschema:"enum=stem,enum=path,enum=folder" jsonschema_description:"Which record an image file in a folder belongs to: stem (the file's name without its ending), path (its path below uri without the ending), folder (the name of the folder that it lies in)."`
	Column   string      `yaml:"column" json:"column" jsonschema_description:"Table column that holds each record's image path or URI; empty: images are found by their keys."`
	Fields   ImageFields `yaml:"fields" json:"fields" jsonschema_description:"Columns of Avro and Parquet files with images, and endings within tar archives."`
	Multiple string      `yaml:"multiple" json:"multiple" jsonschema:"enum=first,enum=mean,enum=max" jsonschema_description:"What becomes of several images of one record: first (the first counts, the others are bad records), mean or max (each image's vector is pooled as usual, then combined value by value)."`
}

// ImageFields names the columns of container files with images. What is left empty is found by its
// usual names and types.
type ImageFields struct {
	Key   string `yaml:"key" json:"key,omitempty" jsonschema_description:"Column that holds the record's key; left out: id, key or __key__."`
	Image string `yaml:"image" json:"image,omitempty" jsonschema_description:"Column that holds the image's bytes, or a struct with bytes as Hugging Face writes it; left out: image, or the only column of bytes. Of tar archives: the endings that are images, such as jpg or jpg;png; left out: all image endings."`
}

// Features says how feature files are written.
type Features struct {
	Format string `yaml:"format" json:"format" jsonschema:"enum=avro,enum=parquet" jsonschema_description:"Format of the files that keep.features leaves in the output."`
}

// Downstream says what is trained per layer and how it is judged.
type Downstream struct {
	Kind        string  `yaml:"kind" json:"kind" jsonschema:"enum=logistic-regression,enum=linear-svc" jsonschema_description:"Model that is trained for each layer."`
	Iterations  int     `yaml:"iterations" json:"iterations" jsonschema:"minimum=1,maximum=100000" jsonschema_description:"Iterations of the optimizer, at most."`
	Reg         float64 `yaml:"reg" json:"reg" jsonschema:"minimum=0" jsonschema_description:"Strength of the penalty; 0: none."`
	ElasticNet  float64 `yaml:"elasticNet" json:"elasticNet" jsonschema:"minimum=0,maximum=1" jsonschema_description:"Share of the L1 penalty: 0 is ridge, 1 is lasso."`
	Standardize bool    `yaml:"standardize" json:"standardize" jsonschema_description:"true: the penalty acts on weights of columns scaled to unit deviation, as in MLlib; false: on raw weights."`
	Tol         float64 `yaml:"tol" json:"tol" jsonschema:"minimum=0" jsonschema_description:"Relative improvement below which training stops."`
	Test        float64 `yaml:"test" json:"test" jsonschema:"minimum=0,exclusiveMaximum=1" jsonschema_description:"Share of the records held out for the metrics; 0: train on all and report training metrics."`
	Folds       int     `yaml:"folds" json:"folds" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Number of cross-validation folds, 2 or more; 0: none."`
	Grid        Grid    `yaml:"grid" json:"grid" jsonschema_description:"Values to try; all of them are trained in the same scans."`
	Metric      string  `yaml:"metric" json:"metric" jsonschema:"enum=accuracy,enum=f1,enum=f1-macro,enum=auc,enum=log-loss" jsonschema_description:"Metric that decides which layer is best."`
}

// Grid lists alternatives for hyper-parameters; an empty list means that the single value counts.
type Grid struct {
	Reg        []float64 `yaml:"reg" json:"reg,omitempty" jsonschema:"minItems=1,uniqueItems=true,minimum=0" jsonschema_description:"Values of reg to try."`
	ElasticNet []float64 `yaml:"elasticNet" json:"elasticNet,omitempty" jsonschema:"minItems=1,uniqueItems=true,minimum=0,maximum=1" jsonschema_description:"Values of elasticNet to try."`
}

// Plan holds the knobs that the optimizer turns; the zero value of each means that it decides.
type Plan struct {
	Inference  string `yaml:"inference" json:"inference,omitempty" jsonschema:"enum=lazy,enum=eager,enum=staged,enum=fused" jsonschema_description:"lazy: from the image for every layer; eager: once, keeping every layer's full output; staged: each layer from the one before; fused: once, keeping only pooled vectors."`
	Placement  string `yaml:"placement" json:"placement,omitempty" jsonschema:"enum=before-join,enum=after-join" jsonschema_description:"Where CNN inference stands relative to the join."`
	Join       string `yaml:"join" json:"join,omitempty" jsonschema:"enum=broadcast,enum=shuffle" jsonschema_description:"broadcast: the table is sent to every worker and joined in mappers; shuffle: joined in reducers."`
	Storage    string `yaml:"storage" json:"storage,omitempty" jsonschema:"enum=raw,enum=snappy" jsonschema_description:"How intermediate and cached partitions are kept."`
	CPU        int    `yaml:"cpu" json:"cpu,omitempty" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Query parallelism per worker."`
	Partitions int    `yaml:"partitions" json:"partitions,omitempty" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Number of partitions."`
	Batch      int    `yaml:"batch" json:"batch,omitempty" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Images per CNN call."`
	Networks   string `yaml:"networks" json:"networks,omitempty" jsonschema:"enum=together,enum=apart" jsonschema_description:"Of several networks: together (each image is decoded once and runs through all of them; fused only) or apart (one network after the other). Of one network it says nothing."`
}

// Limits bounds what a job may use and put up with.
type Limits struct {
	Memory         Bytes   `yaml:"memory" json:"memory,omitempty" jsonschema_description:"Memory per worker, with its unit; left out: what the machine or its cgroup allows."`
	Refuse         bool    `yaml:"refuse" json:"refuse" jsonschema_description:"false: a plan that needs more memory than there is runs all the same, with a warning; it may be ended by the system."`
	MaxBadFraction float64 `yaml:"maxBadFraction" json:"maxBadFraction" jsonschema:"minimum=0,maximum=1" jsonschema_description:"Share of bad records, table rows and images alike, above which the job fails."`
}

// Keep says what stays in the output besides results and models.
type Keep struct {
	Features bool `yaml:"features" json:"features" jsonschema_description:"true: each layer's vectors stay in the output as features/LAYER/part-*.avro, or .parquet (features.format)."`
}

// Defaults returns a job file with every optional key at its default; required keys are empty.
// It is the one place where defaults are written.
func Defaults() *Job {
	return &Job{
		Seed:     1,
		Table:    Table{Delimiter: "auto", Header: true, Missing: "bad", MaxCategories: 32},
		Images:   Images{Required: true, Key: "stem", Multiple: "first"},
		Features: Features{Format: "avro"},
		CNN:      CNNs{DefaultCNN()},
		Downstream: Downstream{
			Kind:        "logistic-regression",
			Iterations:  10,
			Reg:         0.01,
			ElasticNet:  0.5,
			Standardize: true,
			Tol:         1e-6,
			Test:        0.2,
			Metric:      "accuracy",
		},
		Limits: Limits{Refuse: true, MaxBadFraction: 0.01},
	}
}

// Origin says where one value of a job came from.
type Origin struct {
	Path  string `json:"path"`           // dotted key, as --set takes it
	Value any    `json:"value"`          // as it would be written in the file; nil: left to the program
	From  string `json:"from"`           // "set", "file" or "default"
	Line  int    `json:"line,omitempty"` // line in the file, when From is "file"
}

// Origins lists every key of the format in the order of the file format, with its value and origin.
func (j *Job) Origins() []Origin { return append([]Origin(nil), j.origins...) }

// Digest identifies what the job computes: SHA-256 (hex) of the keys that can change a result. Where
// the output goes, how much memory may be used, how many bad records are put up with and what is
// shared with other jobs are not part of it, so a run that stopped can be taken up again with, say,
// more memory or a larger budget.
func (j *Job) Digest() string {
	c := *j
	c.Limits = Limits{}
	c.Output, c.Reuse = "", ""
	if len(c.CNN) == 1 { // of which it says nothing
		c.Plan.Networks = ""
	}
	b, err := json.Marshal(&c)
	if err != nil {
		// Every field is a string, number, bool or list of them with its own marshaller above;
		// floats are finite because Load refuses others.
		panic(fmt.Sprintf("conf: job cannot be written as JSON: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
