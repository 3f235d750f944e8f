// Package paper computes what the optimizer of the Vista paper (Nakandala and Kumar, SIGMOD 2020, sections 3 and 4)
// would choose on its own platform: Spark and TensorFlow of 2017, a Java heap beside native memory, gigabytes for
// each thread that runs a CNN. It is there to be compared with: nothing that vista-mr runs is planned by it.
//
// Invariant: it is a pure function of its arguments, follows the paper where the published code differs from it, and
// uses the paper's constants only.
//
// Its caller is `vista-mr explain --paper`. It knows nothing of the plans of package plan.
package paper

import "fmt"

// The paper counts in decimal units.
const (
	megabyte = 1e6
	gigabyte = 1e9
)

// Constants of the paper's table 1 and of its roster, which the paper mentions and its code lists.
const (
	reserved  = 3 * gigabyte   // mem_os_rsv: the operating system
	coreLeast = 2.4 * gigabyte // mem_core: the least that Spark needs to run operators
	partMost  = 100 * megabyte // p_max: the largest partition
	castMost  = 100 * megabyte // b_max: the largest table that is broadcast
	coresMost = 8              // cpu_max
	blowUp    = 2              // alpha: objects of the Java heap over plain bytes
	record    = 1.2            // fudge factor of a record (alpha_1)
	pixels    = 227 * 227 * 3  // values of the decoded image, the least that a record holds
	modelHeap = 0.5 * gigabyte // |M|_mem: a downstream model of a thread
)

// CNN is a network of the roster.
type CNN struct {
	Name       string
	Serialized float64 // |f|_ser, bytes
	Runtime    float64 // |f|_mem, bytes for each thread that runs it
	Layers     []Layer // bottom to top
}

// Layer is one that features are taken from.
type Layer struct {
	Name   string
	Values int // of its volume
}

// Roster is the paper's: the CNNs, with all layers that it explores.
func Roster() []CNN {
	return []CNN{
		{"alexnet", 0.3 * gigabyte, 2 * gigabyte, []Layer{{"conv5", 13 * 13 * 256}, {"fc6", 4096}, {"fc7", 4096}, {"fc8", 1000}}},
		{"vgg16", 0.6 * gigabyte, 3 * gigabyte, []Layer{{"fc6", 4096}, {"fc7", 4096}, {"fc8", 1000}}},
		{"resnet50", 0.2 * gigabyte, gigabyte, []Layer{{"conv4_6", 14 * 14 * 1024}, {"conv5_1", 7 * 7 * 2048}, {"conv5_2", 7 * 7 * 2048}, {"conv5_3", 7 * 7 * 2048}, {"fc6", 1000}}},
	}
}

// Cluster is what the paper's optimizer is told of the machines.
type Cluster struct {
	Nodes, Cores int
	Memory       float64 // bytes of a node
	// MostCPU bounds the parallelism below what memory allows; 0: by the formulas alone. The paper's partition counts
	// are those of 4: a call of TensorFlow uses all cores, and its speed-up ends there.
	MostCPU int
}

// Testbed is the paper's cluster.
var Testbed = Cluster{Nodes: 8, Cores: 8, Memory: 32 * gigabyte, MostCPU: 4}

// Workload is what it is told of the data.
type Workload struct {
	Name       string
	Records    int
	Structured int // features of the table
}

// Foods and Amazon are the paper's data sets.
var (
	Foods  = Workload{"foods", 20129, 130}
	Amazon = Workload{"amazon", 200000, 200}
)

// Choice is what its optimizer decides.
type Choice struct {
	CNN         string  `json:"cnn"`         // its name
	CPU         int     `json:"cpu"`         // threads of a node
	Partitions  int     `json:"partitions"`  // np
	Join        string  `json:"join"`        // broadcast or shuffle
	Persistence string  `json:"persistence"` // deserialized or serialized
	Single      float64 `json:"single"`      // s_single: the largest intermediate table, bytes
	Double      float64 `json:"double"`      // s_double: the largest two that exist at once, bytes
	DL          float64 `json:"dl"`          // memory of the deep learning system on a node, bytes
	User        float64 `json:"user"`        // user memory of a node, bytes
	Storage     float64 `json:"storage"`     // storage memory of a node, bytes
}

// InfeasibleError says that even one thread does not fit.
type InfeasibleError struct {
	CNN    string
	Memory float64
}

func (e *InfeasibleError) Error() string {
	return fmt.Sprintf("%s does not fit into nodes of %.1f GB by the paper's formulas", e.CNN, e.Memory/gigabyte)
}

// Choose follows algorithm 1 of the paper: of the numbers of threads, from the largest down, the first with which the
// memory suffices.
func Choose(f CNN, w Workload, c Cluster) (*Choice, error) {
	table := w.table()
	ch := &Choice{CNN: f.Name, Join: "shuffle"}
	if table < castMost {
		ch.Join = "broadcast"
	}
	ch.Single, ch.Double = w.sizes(f, table)
	most := min(c.Cores, coresMost) - 1
	if c.MostCPU > 0 {
		most = min(most, c.MostCPU)
	}
	for cpu := most; cpu >= 1; cpu-- {
		np := partitions(ch.Single, cpu*c.Nodes)
		dl := float64(cpu) * f.Runtime
		worker := c.Memory - reserved - dl
		user := max(f.Serialized+float64(cpu)*blowUp*ch.Single/float64(np), float64(cpu)*modelHeap) // equation 10
		if worker-user <= coreLeast {
			continue
		}
		ch.CPU, ch.Partitions, ch.DL, ch.User = cpu, np, dl, user
		ch.Storage = worker - user - coreLeast
		ch.Persistence = "deserialized"
		if ch.Storage*float64(c.Nodes) < ch.Double {
			ch.Persistence = "serialized"
		}
		return ch, nil
	}
	return nil, &InfeasibleError{f.Name, c.Memory}
}

// partitions is the least multiple of the cluster's threads with which no partition is larger than p_max.
func partitions(single float64, threads int) int {
	np := threads
	for single/float64(np) >= partMost {
		np += threads
	}
	return np
}

// table is the size of the structured table, equation 16 for a vector of its features.
func (w Workload) table() float64 { return float64(w.Records) * recordBytes(w.Structured) }

// recordBytes is equation 16 for one record: key, header, values in float32.
func recordBytes(values int) float64 { return record * float64(8+8+4*values) }

// sizes are the largest intermediate table, and the largest two that a staged plan holds at once less the structured
// part, which both of them have.
func (w Workload) sizes(f CNN, table float64) (single, double float64) {
	n := float64(w.Records)
	at := func(i int) float64 { return n*recordBytes(max(f.Layers[i].Values, pixels)) + table }
	for i := range f.Layers {
		single = max(single, at(i))
		if i > 0 {
			double = max(double, at(i-1)+at(i)-table)
		}
	}
	return single, double
}
