// Command selectors reads PromQL expressions as a JSON list of strings from its standard input and writes, for each,
// what it selects: {"error": …} where it cannot be parsed, else {"selectors": [{"name": …, "labels": [names that it
// matches on]}], "labels": [names in by, without, on, ignoring, group_left and group_right]}.
//
// It asks Prometheus' own parser, so that a test of our panels and rules need not guess which words are metrics.
// testbed/promtool builds it beside promtool.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type selector struct {
	Name   string   `json:"name"`
	Labels []string `json:"labels"`
}

type answer struct {
	Error     string     `json:"error,omitempty"`
	Selectors []selector `json:"selectors"`
	Labels    []string   `json:"labels"`
}

func main() {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		fmt.Fprintf(os.Stderr, "selectors: standard input is no JSON list of strings: %v\n", err)
		os.Exit(2)
	}
	answers := make([]answer, 0, len(expressions))
	for _, expression := range expressions {
		answers = append(answers, parse(expression))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintf(os.Stderr, "selectors: %v\n", err)
		os.Exit(1)
	}
}

func parse(text string) answer {
	root, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{Selectors: []selector{}, Labels: []string{}}
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			selected := selector{Name: node.Name, Labels: []string{}}
			for _, matcher := range node.LabelMatchers {
				if matcher.Name == labels.MetricName {
					selected.Name = matcher.Value
				} else {
					selected.Labels = append(selected.Labels, matcher.Name)
				}
			}
			found.Selectors = append(found.Selectors, selected)
		case *parser.AggregateExpr:
			found.Labels = append(found.Labels, node.Grouping...)
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				found.Labels = append(found.Labels, node.VectorMatching.MatchingLabels...)
				found.Labels = append(found.Labels, node.VectorMatching.Include...)
			}
		}
		return nil
	})
	return found
}
