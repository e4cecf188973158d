## make book          run the chapters that changed and build the site in _build/html
## make chapter       run one chapter and show its page alone: make chapter NAME=depth BITS="4 8"
## make student       the chapters as plain notebooks in _build/student: numbers filled in, figures shown,
##                      solutions left out; with SOLUTIONS=yes the teacher's, in _build/teacher
## make lab           open them in JupyterLab, which it installs in .venv first if it is not there
## make test          run the tests (they open the built site; it is built first if there is none)
##                      make test FAST=1  only what takes well under a second each, in two minutes
##                      make test SLOW=1  all, also what is marked slow: mutants, the search, runs of
##                                        all chapters, make itself, the wheel
## make pdf           the whole book as one PDF, _build/book.pdf; needs Chromium
## make slides        the first figure of each chapter as a slide, _build/slides.pdf; needs Chromium
## make serve         show the site at http://localhost:8000
## make prove         derive every step of every proof again, with times
## make falsify       search many networks for one that breaks a bound (some minutes), and store the
##                    result in data/falsification.json, which the book shows; then five minutes
##                    against certify, which add to the networks in data/attacked.csv
## make bench         what profiles and quantizing cost, as ratios measured in one run (minutes)
## make checkpoints   train the networks in data/ again, from three seeds (about half an hour), measure
##                    their profiles, and compare the accuracies with the stored ones
## make weights       fetch the ImageNet weights in data/ again and compare with the manifest
## make errors        measure data/errors.csv again, errors that every page quotes (about 30 minutes),
##                    and data/promised.csv, promises at several widths (ten minutes)
## make certified     compute data/certified.csv again: bounds of certify that take minutes (two hours)
## make around        measure data/around_an_image.csv again: what is certified around test images, and
##                      the networks that are trained for it, where they are missing (an hour)
## make architectures measure data/architectures.csv again: bounds of all classifiers of torchvision,
##                    with random weights (about half an hour; what is there is kept)
## make kept          compute again what chapters read from data/kept, which takes long; a chapter computes
##                      by itself what is not there, with other values say (about half an hour)
## make profiles      measure the stored profiles of the networks in data/ again
##                      (those of the ResNet-50 where the package with its weights is installed)
## make lint          check the style of the code with ruff
## make clean         remove everything that was built; the environment .venv stays
## make help          print this
##
## The first of them that needs it creates .venv with the versions of requirements.txt.
## "make -j2 book" runs two chapters at once.
##
## Variables, as in make book BITS="4 8":
##   WEIGHTS   digits, imagenet or random                   } what the chapters are run with;
##   BITS      bit-widths from 2 to 16                      } without them, each chapter uses the values
##   SEED      a whole number, the seed of all sampling     } of its own first code cell
##   NAME      what make chapter runs: a file of book/ without its suffix
##   SOLUTIONS SOLUTIONS=yes keeps the solutions in what make student writes
##   TESTS     what make test runs; default: tests. "tests --cov=qnotes" says what they reach
##   FAST      FAST=1 leaves out what is marked slow or medium  } how much make test runs; without
##   SLOW      SLOW=1 runs all of it                            } them, all but what is marked slow
##   PORT      where make serve listens; default: 8000
##   PYTHON    the Python 3.11, 3.12 or 3.13 that creates .venv; default: the first one found
##   ENV       ENV=active uses the environment that is active (conda, say) and installs nothing

# Works with GNU make 3.81 (macOS) and later. How it hangs together:
#   book/NAME.ipynb -> _build/executed/NAME.ipynb -> _build/html
# A variable counts as a file, _build/parameters/bits.yaml say, that is rewritten only when the value
# changes: so a new value reruns the chapters that depend on it, and only those.

WEIGHTS =
BITS =
SEED =
NAME =
SOLUTIONS =
TESTS = tests
FAST =
SLOW =
PORT = 8000
PYTHON =
ENV =

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help book chapter student lab pdf slides test prove falsify bench serve checkpoints weights errors certified around architectures kept profiles lint clean writable FORCE

# Threads that wait for each other without spinning: much faster where others use the cores too.
export OMP_WAIT_POLICY = PASSIVE

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

# ---------------------------------------------------------------- the variables, checked first

variables := WEIGHTS BITS SEED NAME SOLUTIONS TESTS FAST SLOW PORT PYTHON ENV
given := $(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v))
unknown := $(filter-out $(variables) SHELL MAKEFLAGS,$(given))
ifneq ($(unknown),)
  $(error There is no variable $(unknown). The variables are: $(variables))
endif
ifneq ($(filter-out digits imagenet random,$(WEIGHTS))$(word 2,$(WEIGHTS)),)
  $(error WEIGHTS=$(WEIGHTS) will not do: give one of digits, imagenet, random)
endif
ifneq ($(filter-out 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16,$(BITS)),)
  $(error BITS="$(BITS)" will not do: give whole numbers from 2 to 16, as in BITS="4 8")
endif
ifneq ($(shell printf '%s' '$(SEED)' | tr -d 0-9)$(word 2,$(SEED)),)
  $(error SEED=$(SEED) will not do: give a whole number, 0 or larger)
endif
ifneq ($(filter-out 1,$(FAST)$(SLOW)),)
  $(error FAST=1 and SLOW=1 are the only values, and one of them at a time)
endif
ifneq ($(filter-out yes,$(SOLUTIONS)),)
  $(error SOLUTIONS=$(SOLUTIONS) will not do: the only value is SOLUTIONS=yes)
endif
chapters := $(patsubst book/%.ipynb,%,$(wildcard book/*.ipynb))
ifneq ($(filter chapter,$(MAKECMDGOALS)),)
ifneq ($(words $(NAME)) $(filter-out $(chapters),$(NAME)),1 )
  $(error NAME=$(NAME) is no chapter: give one of $(filter-out reproducibility,$(chapters)))
endif
endif
ifneq ($(filter-out active,$(ENV)),)
  $(error ENV=$(ENV) will not do: the only value is ENV=active)
endif

# Any text as one word of the shell, whatever spaces and quotes are in it.
quoted = '$(subst ','\'',$(1))'

# ---------------------------------------------------------------- the environment

ifeq ($(ENV),active)
python := $(or $(PYTHON),python)
environment := _build/state/environment
else
python := .venv/bin/python
environment := .venv/.installed
endif
py := $(call quoted,$(python))

# requirements.txt lists torch before torchvision; both in one go, so that pip picks a pair.
.venv/.installed: requirements.txt pyproject.toml
	@if .venv/bin/python -m pip --version > /dev/null 2>&1; then exit 0; fi; \
	for p in $(if $(PYTHON),$(call quoted,$(PYTHON)),python3 python3.13 python3.12 python3.11); do \
	  if "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null; then \
	    "$$p" -m venv --clear .venv && exit 0; \
	    echo "$$p cannot create .venv here (see above). On Debian: apt-get install python3-venv" >&2; exit 1; \
	  fi; \
	done; \
	echo "Python 3.11, 3.12 or 3.13 is needed, and" $(call quoted,$(or $(PYTHON),python3)) "is none: install one, or name it with PYTHON=." >&2; exit 1
	.venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt
	.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $@

_build/state/environment: requirements.txt _build/state/python
	@$(py) book/environment.py requirements.txt
	@touch $@

# ---------------------------------------------------------------- the state that files depend on

# Files whose names make would take apart, at a space say, are watched by a state file of their own.
odd := -path '*[!A-Za-z0-9._/+-]*'
find = { find qnotes -name '*.py' $(1); \
  find data -type f ! -name '.*' ! -name '*.md' ! -name '*.py*' $(1); } 2> /dev/null
sources := $(sort $(shell $(call find,! $(odd))))
python_used := $(python) $(if $(ENV),$(shell command -v $(py) 2> /dev/null))

# One YAML file a variable, which papermill reads; an empty one leaves the chapters' own values.
numbers := $(shell echo $(BITS) | tr ' ' '\n' | sort -nu | paste -sd, -)
parameters := $(patsubst %,_build/parameters/%.yaml,weights bits seed)
_build/parameters/weights.yaml: value = $(if $(WEIGHTS),weights: $(strip $(WEIGHTS)))
_build/parameters/bits.yaml:    value = $(if $(numbers),bits: [$(numbers)])
_build/parameters/seed.yaml:    value = $(if $(SEED),seed: $(shell expr $(SEED) + 0))
_build/state/python:       value = $(python_used)
_build/state/sources:      value = $(sources)
$(parameters) _build/state/python _build/state/sources: FORCE | writable
	@echo $(call quoted,$(value)) | cmp -s - $@ || echo $(call quoted,$(value)) > $@

_build/state/odd_sources: FORCE | writable
	@$(call find,$(odd)) | sort > $@.now; \
	if cmp -s $@.now $@ && [ -z "$$($(call find,$(odd) -newer $@))" ]; then rm $@.now; \
	else mv $@.now $@; fi

writable:
	@{ mkdir -p _build/parameters _build/state _build/executed && [ -w _build ]; } 2>/dev/null || { \
	  echo "Cannot write to the folder _build: check its owner and permissions, or remove it." >&2; exit 1; }

# ---------------------------------------------------------------- the chapters

executed := $(chapters:%=_build/executed/%.ipynb)

# A chapter depends on the variables that its cell of parameters sets.
declaring = $(patsubst book/%,_build/executed/%,$(shell grep -lE '^ *"$(1) *(:[^=]*)?=' book/*.ipynb))
$(foreach v,weights bits seed,$(eval $(call declaring,$(v)): _build/parameters/$(v).yaml))
# It reports on all the others.
_build/executed/reproducibility.ipynb: $(filter-out %/reproducibility.ipynb,$(executed))

# Several chapters at once would overwrite each other's progress bar: then print lines.
parallel = $(if $(findstring jobserver,$(MAKEFLAGS)),--lines)

$(executed): _build/executed/%.ipynb: book/%.ipynb book/execute.py requirements.txt \
    $(sources) _build/state/sources _build/state/odd_sources _build/state/python | $(environment)
	@$(py) book/execute.py $(parallel) $< $@ $(filter _build/parameters/%,$^)

jupyter_book = NO_COLOR=1 PYTHONPATH=. $(py) -c 'from jupyter_book.cli.main import main; main()'

# One chapter by itself, with other values, say: it has a folder of its own, so that the book, which
# another value would make again, stays as it is. Its page comes from the teacher's edition, where
# references are plain text, so no other page is needed.
alone = _build/chapter
chapter: | $(environment) writable
	@rm -rf $(alone) && mkdir -p $(alone)/source
	@printf '%s\n' $(call quoted,$(if $(WEIGHTS),weights: $(strip $(WEIGHTS)))) \
	  $(call quoted,$(if $(numbers),bits: [$(numbers)])) \
	  $(call quoted,$(if $(SEED),seed: $(shell expr $(SEED) + 0))) > $(alone)/parameters.yaml
	@$(py) book/execute.py book/$(NAME).ipynb $(alone)/$(NAME).ipynb $(alone)/parameters.yaml
	@$(py) book/student.py --solutions --site _build/html --to $(alone)/source $(alone)/$(NAME).ipynb
	@cp -R book/references.bib book/_static $(alone)/source
	@printf '%s\n' 'format: jb-book' 'root: $(NAME)' > $(alone)/source/_toc.yml
	@$(jupyter_book) build $(alone)/source --config _config.yml --path-output $(alone) --quiet > /dev/null 2>&1 || { \
	  echo "The page was not built; the chapter is in $(alone)/$(NAME).ipynb" >&2; exit 1; }
	@echo 'The chapter:' $(call quoted,$(CURDIR)/$(alone)/_build/html/$(NAME).html)
	@if [ -n "$$DISPLAY" ] || [ "$$(uname)" = Darwin ]; then \
	  $(py) -m webbrowser -t $(call quoted,file://$(CURDIR)/$(alone)/_build/html/$(NAME).html) > /dev/null; fi

# ---------------------------------------------------------------- the site

pages := $(wildcard book/*.md) book/_toc.yml book/references.bib $(wildcard book/_static/*)

book: _build/html/index.html
	@echo 'The book:' $(call quoted,$(CURDIR)/_build/html/index.html)

# Always built from nothing, since a warning is printed only when a page is read; and beside
# _build/html, which is replaced only when all went well. What a page offers for download is the
# student edition, in place of the source that Sphinx copied.
_build/html/index.html: $(executed) $(pages) book/student.py _config.yml _build/state/sources | $(environment)
	@echo "Building the site"
	@rm -rf _build/source _build/site && mkdir -p _build/source && touch _build/state/site
	@cp -R $(wildcard book/*.md) book/_toc.yml book/references.bib book/_static $(executed) _build/source
	@$(jupyter_book) build _build/source \
	  --config _config.yml --path-output _build/site -W -n --keep-going --quiet > /dev/null || { \
	  echo "The site was not built (see above); the last good one, if any, is untouched." >&2; exit 1; }
	@$(py) book/student.py --site _build/site/_build/html --to _build/site/_build/html/_sources $(executed)
	@rm -rf _build/html && mv _build/site/_build/html _build/html && touch -r _build/state/site $@

# Numbers of figures and theorems are those of the site.
edition = _build/$(if $(SOLUTIONS),teacher,student)
student: _build/html/index.html
	@rm -rf $(edition)
	@$(py) book/student.py $(if $(SOLUTIONS),--solutions) --site _build/html --to $(edition) $(executed)
	@echo 'The notebooks:' $(call quoted,$(CURDIR)/$(edition))

# JupyterLab is large, and nothing else needs it: whoever wants it gets it by asking.
lab: student
	@$(py) -c 'import jupyterlab' 2> /dev/null || $(if $(ENV),{ \
	  echo "JupyterLab is missing: install it in the active environment" >&2; exit 1; },\
	  $(py) -m pip install --disable-pip-version-check --quiet 'jupyterlab>=4,<5')
	$(py) -m jupyterlab --notebook-dir=$(edition)

# All pages as one, printed by Chromium.
pdf: _build/book.pdf
	@echo 'The book on paper:' $(call quoted,$(CURDIR)/_build/book.pdf)

_build/book.pdf: _build/html/index.html book/pdf.py
	@$(py) book/pdf.py _build/html $@

slides: _build/slides.pdf
	@echo 'The slides:' $(call quoted,$(CURDIR)/_build/slides.pdf)

_build/slides.pdf: _build/html/index.html book/pdf.py
	@$(py) book/pdf.py --slides _build/html $@

serve:
	@[ -f _build/html/index.html ] || { echo "There is no site yet: make book" >&2; exit 1; }
	$(py) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

# ---------------------------------------------------------------- the rest

# pytest speaks last, so that its summary is the last line.
chosen = $(if $(SLOW),,-m "not slow$(if $(FAST), and not medium)")
# A process a core, each with one thread; tests that share what is dear to set up stay together.
spread = -n auto --maxprocesses 4 --dist loadgroup
test: $(environment) $(if $(FAST)$(wildcard _build/html/index.html),,book)
	@OMP_NUM_THREADS=1 $(py) -m pytest $(spread) $(chosen) $(TESTS)

prove: $(environment)
	@$(py) -m qnotes prove

falsify: $(environment)
	@$(py) -m tests.falsification --json data/falsification.json
	@$(py) -m tests.falsification.certified --seconds 300 --csv data/attacked.csv

# With the threads that a program of one's own has.
bench: $(environment)
	@env -u OMP_WAIT_POLICY $(py) -m tests.benchmarks.profile_cost
	@env -u OMP_WAIT_POLICY $(py) -m tests.benchmarks.quantization_cost

checkpoints: $(environment)
	@$(py) -m data.train

weights: $(environment)
	@$(py) -m data.convert

errors: $(environment)
	@$(py) -m data.measure_errors
	@$(py) -m data.measure_promised

certified: $(environment)
	@$(py) -m data.measure_certified --again

around: $(environment)
	@$(py) -m data.measure_around --again

architectures: $(environment)
	@$(py) -m data.measure_architectures

# One chapter after the other: several write the cells of their sweeps into one file.
keeping = $(shell grep -lE 'pages\.(kept|CELLS)' book/*.ipynb)
# They take the place of data/kept when all are there. Who is interrupted has the old ones, and goes
# on from there, unless the package has changed.
results = _build/kept/results
kept: $(environment) writable
	@[ -d $(results) ] && [ -z "$$(find qnotes -name '*.py' -newer $(results).begun)" ] || { \
	  rm -rf $(results) && mkdir -p $(results) && touch $(results).begun; }
	@for chapter in $(keeping); do QNOTES_KEEP=$(call quoted,$(CURDIR)/$(results)) \
	  $(py) book/execute.py $$chapter _build/kept/$$(basename $$chapter) || exit $$?; done
	@rm -rf data/kept && mv $(results) data/kept

profiles: $(environment)
	@$(py) -m data.measure

lint: $(environment)
	$(py) -m ruff check .

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .coverage
