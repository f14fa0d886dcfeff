// Command validators puts a bundle to the validators of Operator Framework and writes what they say as a JSON list of
// {"name": …, "errors": […], "warnings": […]}. Its argument is the bundle's folder, with manifests/ and metadata/.
//
// testbed/olm/validators.py builds it. It ends with 1 where the folder cannot be read as a bundle.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	"github.com/operator-framework/api/pkg/validation/errors"
)

type verdict struct {
	Name     string   `json:"name"`
	Errors   []string `json:"errors"`
	Warnings []string `json:"warnings"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: validators BUNDLE")
		os.Exit(2)
	}
	bundle, err := manifests.GetBundleFromDir(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "validators: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	objects := []interface{}{bundle, bundle.CSV} // each validator takes the types that it knows
	for _, definition := range bundle.V1CRDs {
		objects = append(objects, definition)
	}
	for _, object := range bundle.Objects {
		objects = append(objects, object)
	}
	verdicts := []verdict{}
	for _, result := range validation.AllValidators.Validate(objects...) {
		verdicts = append(verdicts, verdict{result.Name, texts(result.Errors), texts(result.Warnings)})
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		fmt.Fprintf(os.Stderr, "validators: %v\n", err)
		os.Exit(1)
	}
}

func texts(found []errors.Error) []string {
	said := []string{}
	for _, each := range found {
		said = append(said, each.Error())
	}
	return said
}
